//! A config value, wherever it came from: TOML, with the place of each value in the text, or JSON, without.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// One value.
#[derive(Clone, Debug)]
pub(super) struct Value {
    /// Where it stands in the text, in bytes.
    pub(super) span: Option<Range<usize>>,
    /// What it is.
    pub(super) kind: Kind,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    String(String),
    Integer(i128),
    Float(f64),
    Bool(bool),
    Array(Vec<Value>),
    Table(Vec<Entry>),
    /// Something that no key takes: a date, a number that is too large.
    Other(&'static str),
}

/// One `key = value`.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    /// Where the key stands.
    pub(super) span: Option<Range<usize>>,
    pub(super) value: Value,
}

impl Value {
    /// What it is, with its article.
    pub(super) fn kind_name(&self) -> &'static str {
        match &self.kind {
            Kind::String(_) => "a string",
            Kind::Integer(_) => "a bare number",
            Kind::Float(_) => "a bare number",
            Kind::Bool(_) => "true or false",
            Kind::Array(_) => "a list",
            Kind::Table(_) => "a table",
            Kind::Other(name) => name,
        }
    }

    /// From a TOML document or a part of it.
    pub(super) fn from_toml(value: &DeValue<'_>, span: Range<usize>) -> Value {
        let kind = match value {
            DeValue::String(text) => Kind::String(text.to_string()),
            DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
                .map_or(Kind::Other("a number that is too large"), Kind::Integer),
            DeValue::Float(number) => number
                .as_str()
                .parse()
                .map_or(Kind::Other("no number"), Kind::Float),
            DeValue::Boolean(flag) => Kind::Bool(*flag),
            DeValue::Datetime(_) => Kind::Other("a date"),
            DeValue::Array(items) => Kind::Array(
                items
                    .iter()
                    .map(|item| Value::from_toml(item.get_ref(), item.span()))
                    .collect(),
            ),
            DeValue::Table(table) => Kind::Table(entries(table)),
        };
        Value {
            span: Some(span),
            kind,
        }
    }

    /// From JSON. A key that is `null` counts as absent.
    pub(super) fn from_json(value: &serde_json::Value) -> Value {
        let kind = match value {
            serde_json::Value::Null => Kind::Other("null"),
            serde_json::Value::Bool(flag) => Kind::Bool(*flag),
            serde_json::Value::Number(number) => match number.as_i128() {
                Some(number) => Kind::Integer(number),
                None => number
                    .as_f64()
                    .map_or(Kind::Other("a number that is too large"), Kind::Float),
            },
            serde_json::Value::String(text) => Kind::String(text.clone()),
            serde_json::Value::Array(items) => {
                Kind::Array(items.iter().map(Value::from_json).collect())
            }
            serde_json::Value::Object(map) => Kind::Table(
                map.iter()
                    .filter(|(_, value)| !value.is_null())
                    .map(|(key, value)| Entry {
                        key: key.clone(),
                        span: None,
                        value: Value::from_json(value),
                    })
                    .collect(),
            ),
        };
        Value { span: None, kind }
    }
}

/// The entries of a TOML table in the order of the text.
pub(super) fn entries(table: &DeTable<'_>) -> Vec<Entry> {
    let mut entries: Vec<_> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            span: Some(key.span()),
            value: Value::from_toml(value.get_ref(), value.span()),
        })
        .collect();
    entries.sort_by_key(|entry| entry.span.as_ref().map(|span| span.start));
    entries
}
