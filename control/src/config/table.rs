//! Reads a table key by key, and goes on where a value is wrong.

use super::findings::{Fault, Findings, join};
use super::value::{Entry, Kind, Value};

/// A table being read. Keys that nobody asked for are unknown; [`Table::finish`] says so.
#[derive(Debug)]
pub(super) struct Table<'a> {
    path: String,
    entries: &'a [Entry],
    asked: Vec<&'static str>,
    findings: &'a mut Findings,
}

impl<'a> Table<'a> {
    /// The whole document: keys have no prefix.
    pub(super) fn root(entries: &'a [Entry], findings: &'a mut Findings) -> Table<'a> {
        Table::at(String::new(), entries, findings)
    }

    /// The table that stands at `path`.
    fn at(path: String, entries: &'a [Entry], findings: &'a mut Findings) -> Table<'a> {
        Table {
            path,
            entries,
            asked: Vec::new(),
            findings,
        }
    }

    /// The value of a key that has to be there; `None` if it is not or is wrong, which is then known.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        read: impl Fn(&Value) -> Result<T, Fault>,
    ) -> Option<T> {
        if self.get(key).is_some() {
            return self.optional(key, read);
        }
        let fault = Fault::new(format!("`{key}` is missing"));
        let hint = format!("add {key} = {example}");
        self.findings.missing(&self.path, key, fault.hint(hint));
        None
    }

    /// The value of a key that may be left out; `None` if it is, or is wrong.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&Value) -> Result<T, Fault>,
    ) -> Option<T> {
        let value = self.get(key)?;
        match read(value) {
            Ok(read) => Some(read),
            Err(fault) => {
                self.findings.unusable(&self.path_of(key), fault);
                None
            }
        }
    }

    /// The value of a key that has a default.
    pub(super) fn or<T>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl Fn(&Value) -> Result<T, Fault>,
    ) -> T {
        self.optional(key, read).unwrap_or(default)
    }

    /// The elements of a list; wrong ones are left out.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&Value) -> Result<T, Fault>,
    ) -> Vec<T> {
        let items = self.items(key, "a list, in square brackets");
        let mut list = Vec::new();
        for (i, item) in items.iter().enumerate() {
            let path = format!("{}[{i}]", self.path_of(key));
            self.findings.place(&path, item.span.clone());
            match read(item) {
                Ok(value) => list.push(value),
                Err(fault) => {
                    self.findings.unusable(&path, fault);
                    // What comes after would be taken for an element before it.
                    self.findings.break_silently(&self.path_of(key));
                }
            }
        }
        list
    }

    /// The tables of an array of tables, each read with its index.
    pub(super) fn each<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&mut Table<'_>, usize) -> T,
    ) -> Vec<T> {
        let items = self.items(key, "tables");
        let path = self.path_of(key);
        let mut tables = Vec::new();
        for (i, item) in items.iter().enumerate() {
            let path = format!("{path}[{i}]");
            self.findings.place(&path, item.span.clone());
            let Kind::Table(entries) = &item.kind else {
                let fault = Fault::new(format!("this is {}, not a table", item.kind_name()));
                self.findings
                    .unusable(&path, fault.hint(format!("write [[{key}]]")));
                self.findings.break_silently(&self.path_of(key));
                continue;
            };
            let table = read_table(path, entries, self.findings, |table| read(table, i));
            tables.push(table);
        }
        tables
    }

    /// A table within this one; `None` if it is left out.
    pub(super) fn nested<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&mut Table<'_>) -> T,
    ) -> Option<T> {
        let value = self.get(key)?;
        let path = self.path_of(key);
        let Kind::Table(entries) = &value.kind else {
            let fault = Fault::new(format!("`{key}` is {}, not a table", value.kind_name()));
            self.findings.unusable(&path, fault);
            return None;
        };
        Some(read_table(path, entries, self.findings, &read))
    }

    /// As [`Table::nested`], for a table that reads as empty if it is left out.
    pub(super) fn section<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&mut Table<'_>) -> T,
    ) -> T {
        let path = self.path_of(key);
        let read_it = self.nested(key, &read);
        read_it.unwrap_or_else(|| read_table(path, &[], self.findings, &read))
    }

    /// Says which keys nobody asked for.
    pub(super) fn finish(&mut self) {
        for entry in self.entries {
            if self.asked.contains(&entry.key.as_str()) {
                continue;
            }
            let path = self.path_of(&entry.key);
            self.findings.place(&path, entry.span.clone());
            let table = if self.path.is_empty() {
                "a node's file".to_owned()
            } else {
                format!("[{}]", without_indexes(&self.path))
            };
            let fault = Fault::new(format!("unknown key `{}` in {table}", entry.key));
            self.findings.stray(
                &path,
                fault.hint(suggestion(&entry.key, self.asked.iter().copied())),
            );
        }
    }

    fn items(&mut self, key: &'static str, wanted: &str) -> &'a [Value] {
        let Some(value) = self.get(key) else {
            return &[];
        };
        if let Kind::Array(items) = &value.kind {
            return items;
        }
        let fault = Fault::new(format!("`{key}` is {}, not {wanted}", value.kind_name()));
        self.findings.unusable(&self.path_of(key), fault);
        &[]
    }

    fn get(&mut self, key: &'static str) -> Option<&'a Value> {
        self.asked.push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        self.findings
            .place(&self.path_of(key), entry.value.span.clone());
        Some(&entry.value)
    }

    fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }
}

/// Reads one whole table, unknown keys included.
pub(super) fn read_table<T>(
    path: String,
    entries: &[Entry],
    findings: &mut Findings,
    read: impl Fn(&mut Table<'_>) -> T,
) -> T {
    let mut table = Table::at(path, entries, findings);
    let value = read(&mut table);
    table.finish();
    value
}

/// "did you mean …", or what there is to choose from.
pub(super) fn suggestion<'n>(wrong: &str, known: impl Iterator<Item = &'n str>) -> String {
    let mut known: Vec<_> = known.collect();
    let nearest = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(wrong, name), *name))
        .min();
    match nearest {
        Some((distance, name)) if distance <= 1 + wrong.len() / 4 => {
            format!("did you mean `{name}`?")
        }
        Some(_) => {
            known.sort_unstable();
            known.dedup();
            format!("known: {}", known.join(", "))
        }
        None => "there are none".to_owned(),
    }
}

/// `session[0].client[1]` → `session.client`.
fn without_indexes(path: &str) -> String {
    let mut inside = false;
    path.chars()
        .filter(|c| {
            inside = *c == '[' || (inside && *c != ']');
            !inside && *c != ']'
        })
        .collect()
}
