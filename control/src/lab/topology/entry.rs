//! Tables that mix keys of their own with a group of settings.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Event, Link, LinkSettings, Session};

/// A table whose own keys are taken one by one and whose rest is a group of settings. Flattening would do this, but then
/// unknown keys would pass unnoticed.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Entry(toml::Table);

impl Entry {
    fn take<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>, String> {
        let value = self.0.remove(key).map(toml::Value::try_into).transpose();
        value.map_err(|error| format!("{key}: {}", one_line(&error)))
    }

    fn need<T: DeserializeOwned>(&mut self, key: &str) -> Result<T, String> {
        self.take(key)?
            .ok_or_else(|| format!("missing key `{key}`"))
    }

    fn rest<T: DeserializeOwned>(self) -> Result<T, String> {
        self.0.try_into().map_err(|error| one_line(&error))
    }
}

fn one_line(error: &toml::de::Error) -> String {
    error.message().replace('\n', " ")
}

impl TryFrom<Entry> for Link {
    type Error = String;

    fn try_from(mut entry: Entry) -> Result<Link, String> {
        Ok(Link {
            between: entry.need("between")?,
            settings: entry.try_into()?,
        })
    }
}

impl TryFrom<Entry> for LinkSettings {
    type Error = String;

    fn try_from(mut entry: Entry) -> Result<LinkSettings, String> {
        Ok(LinkSettings {
            mtu: entry.take("mtu")?,
            impair: entry.rest()?,
        })
    }
}

impl TryFrom<Entry> for Session {
    type Error = String;

    fn try_from(mut entry: Entry) -> Result<Session, String> {
        Ok(Session {
            id: entry.take("id")?,
            name: entry.need("name")?,
            source: entry.need("source")?,
            clients: entry.need("clients")?,
            group: entry.take("group")?,
            settings: entry.rest()?,
        })
    }
}

impl TryFrom<Entry> for Event {
    type Error = String;

    fn try_from(mut entry: Entry) -> Result<Event, String> {
        Ok(Event {
            at: entry.need("at")?,
            link: entry.take("link")?,
            lasting: entry.take("for")?,
            kill: entry.take("kill")?,
            start_after: entry.take("start_after")?,
            impair: entry.rest()?,
        })
    }
}
