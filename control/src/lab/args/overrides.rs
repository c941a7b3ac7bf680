//! What a command line changes in a topology.

use std::time::Duration;

use overlay::wire::{FEC_BLOCK_MAX, FEC_PARITY_MAX};

use crate::config::quantity::{self, QuantityError, Rate};
use crate::lab::topology::{Delivery, Fec, IpVersion, Overlay, TREES, Topology};

/// Changes of links and sessions.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Overrides {
    /// Loss on every link between routers (`2%`), or on one (`core:lh1=50%`); may be given several times.
    #[arg(long, value_name = "[A:B=]SHARE")]
    loss: Vec<LossArg>,
    /// Deadline of every session.
    #[arg(long, value_parser = checked_duration)]
    deadline: Option<String>,
    /// Retention of every session.
    #[arg(long, value_parser = checked_duration)]
    retention: Option<String>,
    /// Delivery of every session.
    #[arg(long, value_enum)]
    delivery: Option<Delivery>,
    /// What fills gaps of every session before anybody asks.
    #[arg(long, value_enum)]
    overlay: Option<Overlay>,
    /// Parity of every session: `32+2` for two parity packets behind every 32, `none` for none.
    #[arg(long, value_name = "BLOCK+PARITY")]
    fec: Option<FecArg>,
    /// Disjoint trees that every session is sent on.
    #[arg(long, value_name = "1|2", value_parser = clap::value_parser!(u8).range(trees()))]
    trees: Option<u8>,
    /// IP version between the routers.
    #[arg(long, value_name = "4|6")]
    outer: Option<IpVersion>,
    /// IP version of sources and clients.
    #[arg(long, value_name = "4|6")]
    inner: Option<IpVersion>,
}

/// Changes of what the sources send.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Traffic {
    /// How long the sources send.
    #[arg(long, value_parser = checked_duration)]
    duration: Option<String>,
    /// How fast each session's source sends: `5kpps`, `8Mbps`.
    #[arg(long, value_parser = quantity::rate)]
    rate: Option<Rate>,
    /// Bytes of each payload.
    #[arg(long)]
    size: Option<usize>,
}

fn trees() -> std::ops::RangeInclusive<i64> {
    i64::from(*TREES.start())..=i64::from(*TREES.end())
}

impl Overrides {
    /// Makes the changes.
    pub(crate) fn apply(&self, topology: &mut Topology) -> Result<(), String> {
        self.apply_losses(topology)?;
        topology.outer = self.outer.unwrap_or(topology.outer);
        topology.inner = self.inner.unwrap_or(topology.inner);
        for session in &mut topology.sessions {
            let settings = &mut session.settings;
            settings.delivery = self.delivery.or(settings.delivery);
            settings.overlay = self.overlay.or(settings.overlay);
            settings.trees = self.trees.or(settings.trees);
            for (set, to) in [
                (&mut settings.deadline, &self.deadline),
                (&mut settings.retention, &self.retention),
            ] {
                if to.is_some() {
                    set.clone_from(to);
                }
            }
        }
        if let Some(FecArg(fec)) = self.fec {
            topology.each_settings(|settings| settings.fec = fec);
        }
        Ok(())
    }

    /// Those of single links go before that of all links.
    fn apply_losses(&self, topology: &mut Topology) -> Result<(), String> {
        for loss in self.loss.iter().filter(|loss| loss.link.is_none()) {
            for link in &mut topology.links {
                link.settings.impair.loss = Some(loss.loss.clone());
            }
        }
        for loss in &self.loss {
            let Some([a, b]) = &loss.link else { continue };
            let link = topology
                .link_between(a, b)
                .ok_or_else(|| format!("--loss: there is no link {a}:{b}"))?;
            topology.links[link].settings.impair.loss = Some(loss.loss.clone());
        }
        Ok(())
    }
}

impl Traffic {
    /// Makes the changes.
    pub(crate) fn apply(&self, topology: &mut Topology) -> Result<(), String> {
        if let Some(duration) = &self.duration {
            topology.duration.clone_from(duration);
        }
        if let Some(rate) = self.rate {
            topology.set_rate(rate);
        }
        if let Some(size) = self.size {
            let sizes = crate::probe::MIN_LEN..=crate::probe::MAX_LEN;
            if !sizes.contains(&size) {
                return Err(format!(
                    "--size must be {} to {} bytes",
                    sizes.start(),
                    sizes.end()
                ));
            }
            topology.size = size;
        }
        Ok(())
    }
}

/// A loss for one link or for all.
#[derive(Clone, Debug, PartialEq)]
struct LossArg {
    link: Option<[String; 2]>,
    loss: String,
}

impl std::str::FromStr for LossArg {
    type Err = String;

    fn from_str(text: &str) -> Result<LossArg, String> {
        let (link, loss) = match text.split_once('=') {
            Some((link, loss)) => {
                let (a, b) = link
                    .split_once(':')
                    .ok_or("a link is written A:B, as in core:lh1=50%")?;
                (Some([a.to_string(), b.to_string()]), loss)
            }
            None => (None, text),
        };
        quantity::percent(loss).map_err(|error| error.to_string())?;
        Ok(LossArg {
            link,
            loss: loss.to_string(),
        })
    }
}

/// Parity, or none.
#[derive(Clone, Copy, Debug, PartialEq)]
struct FecArg(Option<Fec>);

impl std::str::FromStr for FecArg {
    type Err = String;

    fn from_str(text: &str) -> Result<FecArg, String> {
        if text == "none" {
            return Ok(FecArg(None));
        }
        let (block, parity) = text
            .split_once('+')
            .ok_or("parity is written BLOCK+PARITY, as in 32+2, or none")?;
        let number = |what: &str, text: &str, most: u8| {
            let number = text
                .parse()
                .ok()
                .filter(|number| (1..=most).contains(number));
            number.ok_or_else(|| format!("{what}: {text:?} is not a number from 1 to {most}"))
        };
        Ok(FecArg(Some(Fec {
            block: number("block", block, FEC_BLOCK_MAX)?,
            parity: number("parity", parity, FEC_PARITY_MAX)?,
        })))
    }
}

/// A share that is kept as written.
pub(crate) fn checked_share(text: &str) -> Result<String, QuantityError> {
    quantity::percent(text).map(|_: f64| text.to_string())
}

/// A duration that is kept as written.
pub(crate) fn checked_duration(text: &str) -> Result<String, QuantityError> {
    quantity::duration(text).map(|_: Duration| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::{Fec, FecArg, LossArg};

    #[test]
    fn a_loss_is_for_one_link_or_for_all() {
        let all: LossArg = "2%".parse().unwrap();
        assert_eq!((all.link, all.loss.as_str()), (None, "2%"));
        let one: LossArg = "core:lh-1=50%".parse().unwrap();
        assert_eq!(one.link, Some(["core".to_string(), "lh-1".to_string()]));
        for bad in ["2", "core=2%", "a:b=2"] {
            assert!(bad.parse::<LossArg>().is_err(), "{bad}");
        }
    }

    #[test]
    fn parity_is_written_as_a_sum() {
        let fec = |block, parity| Ok(FecArg(Some(Fec { block, parity })));
        assert_eq!("32+2".parse(), fec(32, 2));
        assert_eq!("128+32".parse(), fec(128, 32));
        assert_eq!("none".parse(), Ok(FecArg(None)));
        for bad in ["32", "0+1", "129+1", "32+33", "32+0", "a+1"] {
            assert!(bad.parse::<FecArg>().is_err(), "{bad}");
        }
    }
}
