//! Three plots of an outcome, as SVG.

use plotters::coord::ranged1d::SegmentValue;
use plotters::prelude::*;

use super::outcome::{Outcome, quantiles, size};
use crate::show::format::micros;

/// Width and height of the whole, in pixels.
const CANVAS: (u32, u32) = (960, 1200);
/// More bars than this are shown in order of size, without their names: there is room for no more names.
const NAMED_MAX: usize = 14;
/// More bars than this are thinned out: there are no more pixels.
const BARS_MAX: usize = 400;
/// What fills a gap, in the order of the stacks.
const PARTS: [(&str, RGBColor); 3] = [
    ("repairs", RGBColor(31, 119, 180)),
    ("copies", RGBColor(255, 127, 14)),
    ("parity", RGBColor(44, 160, 44)),
];
const FONT: &str = "sans-serif";
const TITLE: i32 = 20;
const LABEL: i32 = 14;

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Error<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

/// The plots: recovery latency, repair bytes of each link, NAKs of each node.
pub(super) fn svg(outcome: &Outcome) -> Result<String, String> {
    let mut text = String::new();
    draw(outcome, &mut text).map_err(|error| format!("plot: {error}"))?;
    Ok(text)
}

fn draw<'a>(outcome: &Outcome, text: &'a mut String) -> Result<(), Error<'a>> {
    let root = SVGBackend::with_string(text, CANVAS).into_drawing_area();
    root.fill(&WHITE)?;
    let title = format!("{}, seed {}", outcome.name, outcome.seed);
    let areas = root.titled(&title, (FONT, TITLE + 4))?.split_evenly((3, 1));
    latency(outcome, &areas[0])?;
    bars(&Bars::links(outcome), &areas[1])?;
    bars(&Bars::naks(outcome), &areas[2])?;
    root.present()
}

/// The distribution of the recovery latency.
fn latency<'a>(outcome: &Outcome, area: &Area<'a>) -> Result<(), Error<'a>> {
    let recovery = &outcome.total.recovery;
    // Whole decades; a logarithmic axis has no place for 0.
    let first = recovery.counts().next().map_or(1, |(us, _)| us.max(1)) as f64;
    let last = (recovery.max_us() as f64).max(first);
    let first = 10f64.powf(first.log10().floor());
    let last = 10f64.powf((last * 1.01).log10().ceil());
    let title = format!("Recovery latency: {}", quantiles(recovery));
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, TITLE))
        .margin(12)
        .margin_right(40)
        .x_label_area_size(40)
        .y_label_area_size(80)
        .build_cartesian_2d((first..last).log_scale(), 0.0..100.0)?;
    chart
        .configure_mesh()
        .max_light_lines(1)
        .label_style((FONT, LABEL))
        .x_desc("later than by the tree")
        .y_desc("packets not brought by the tree, %")
        .x_label_formatter(&|us| micros(*us as u64))
        .y_label_formatter(&|share| format!("{share:.0}"))
        .draw()?;
    let all = recovery.count().max(1) as f64;
    let (mut seen, mut steps) = (0, vec![(first, 0.0)]);
    for (us, times) in recovery.counts() {
        let (at, before) = ((us as f64).max(1.0), 100.0 * seen as f64 / all);
        seen += times;
        steps.extend([(at, before), (at, 100.0 * seen as f64 / all)]);
    }
    chart.draw_series(std::iter::once(PathElement::new(
        steps,
        PARTS[0].1.stroke_width(2),
    )))?;
    Ok(())
}

/// Stacked bars, one a link or node.
#[derive(Debug)]
struct Bars {
    title: String,
    x_title: &'static str,
    y_title: &'static str,
    /// How a value is written on the axis.
    unit: fn(u64) -> String,
    /// Whether the parts need a key.
    key: bool,
    /// Name and parts.
    bars: Vec<(String, [u64; 3])>,
}

impl Bars {
    fn links(outcome: &Outcome) -> Bars {
        let used = outcome.links.iter().map(|(from, to, stats)| {
            let name = format!("{}>{}", outcome.routers[*from], outcome.routers[*to]);
            let parts = [stats.repairs, stats.copies, stats.parity].map(|kind| kind.bytes);
            (name, parts, stats.data.packets > 0)
        });
        let used = used.filter(|(_, parts, tree)| *tree || parts.iter().sum::<u64>() > 0);
        let bars: Vec<_> = used.map(|(name, parts, _)| (name, parts)).collect();
        let sum = bars.iter().flat_map(|bar| bar.1).sum();
        Bars {
            title: format!("Repair bytes per link: {} in all", size(sum)),
            x_title: "directions of links",
            y_title: "bytes sent",
            unit: size,
            key: true,
            bars,
        }
    }

    fn naks(outcome: &Outcome) -> Bars {
        let mut naks = vec![0; outcome.routers.len()];
        for (_, to, stats) in &outcome.links {
            naks[*to] += stats.naks.packets - stats.naks.lost;
        }
        let sum: u64 = naks.iter().sum();
        let names = outcome.routers.iter().cloned();
        Bars {
            title: format!("NAKs per node: {sum} in all"),
            x_title: "nodes",
            y_title: "NAK packets received",
            unit: |count| count.to_string(),
            key: false,
            bars: names.zip(naks.into_iter().map(|at| [at, 0, 0])).collect(),
        }
    }

    /// The bars to draw, each with its label.
    fn drawn(&self) -> Vec<(String, [u64; 3])> {
        if self.bars.len() <= NAMED_MAX {
            return self.bars.clone();
        }
        let mut parts: Vec<[u64; 3]> = self.bars.iter().map(|bar| bar.1).collect();
        parts.sort_by_key(|parts| std::cmp::Reverse(parts.iter().sum::<u64>()));
        let count = parts.len().min(BARS_MAX);
        let ranks = (0..count).map(|at| at * parts.len() / count);
        ranks.map(|at| ((at + 1).to_string(), parts[at])).collect()
    }
}

fn bars<'a>(what: &Bars, area: &Area<'a>) -> Result<(), Error<'a>> {
    let drawn = what.drawn();
    let named = drawn.len() == what.bars.len() && drawn.len() <= NAMED_MAX;
    let tallest = drawn.iter().map(|bar| bar.1.iter().sum::<u64>()).max();
    // Above the bars there is room for the key.
    let room = if what.key { 1.35 } else { 1.05 };
    let top = tallest.unwrap_or(0).max(1) as f64 * room;
    let mut chart = ChartBuilder::on(area)
        .caption(&what.title, (FONT, TITLE))
        .margin(12)
        .margin_right(40)
        .x_label_area_size(40)
        .y_label_area_size(80)
        .build_cartesian_2d(
            (0..drawn.len().saturating_sub(1)).into_segmented(),
            0.0..top,
        )?;
    let x_title = if named {
        what.x_title.to_string()
    } else {
        format!("{}, the busiest first", what.x_title)
    };
    let label = |at: &SegmentValue<usize>| match at {
        SegmentValue::CenterOf(at) => drawn.get(*at).map_or_else(String::new, |bar| bar.0.clone()),
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .max_light_lines(1)
        .label_style((FONT, LABEL))
        .disable_x_mesh()
        .x_desc(x_title)
        .y_desc(what.y_title)
        .x_labels(if named { drawn.len() } else { 10 })
        .x_label_formatter(&label)
        .y_label_formatter(&|value| (what.unit)(*value as u64))
        .draw()?;
    let gap = if named { 6 } else { 0 };
    for (part, (name, color)) in PARTS.iter().enumerate() {
        let stacks = drawn.iter().enumerate().map(|(at, bar)| {
            let low = bar.1[..part].iter().sum::<u64>() as f64;
            let high = low + bar.1[part] as f64;
            let from = (SegmentValue::Exact(at), low);
            let to = (SegmentValue::Exact(at + 1), high);
            let mut stack = Rectangle::new([from, to], color.filled());
            stack.set_margin(0, 0, gap, gap);
            stack
        });
        let series = chart.draw_series(stacks)?;
        if what.key {
            series.label(*name).legend(move |(x, y)| {
                Rectangle::new([(x, y - 5), (x + 12, y + 5)], color.filled())
            });
        }
    }
    if what.key {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .border_style(BLACK)
            .background_style(WHITE)
            .label_font((FONT, LABEL))
            .draw()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
