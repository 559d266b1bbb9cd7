//! The models that are here, and which of them a request's name means. It keeps the records in
//! memory; writing them down is the registry's business.

use std::collections::BTreeMap;

use super::catalog::Catalog;
use super::record::{Record, Source};
use super::room::Removable;

/// The records by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    records: BTreeMap<String, Record>,
}

/// What a name means here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<'a> {
    /// This model.
    One(&'a Record),
    /// One of several; their names.
    Several(Vec<String>),
    /// None.
    None,
}

impl Table {
    /// A table of these records; of two with one name the later stays.
    #[must_use]
    pub fn new(records: impl IntoIterator<Item = Record>) -> Self {
        let named = records
            .into_iter()
            .map(|record| (record.name.clone(), record));
        Self {
            records: named.collect(),
        }
    }

    /// All records, by name.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// The record of exactly this name.
    #[must_use]
    pub fn record(&self, name: &str) -> Option<&Record> {
        self.records.get(name)
    }

    /// The record of exactly this name, to change.
    pub fn record_mut(&mut self, name: &str) -> Option<&mut Record> {
        self.records.get_mut(name)
    }

    /// The record with this source.
    #[must_use]
    pub fn by_source(&self, source: &Source) -> Option<&Record> {
        self.records
            .values()
            .find(|record| record.source == *source)
    }

    /// Adds or replaces a record.
    pub fn insert(&mut self, record: Record) {
        self.records.insert(record.name.clone(), record);
    }

    /// Forgets a record.
    pub fn remove(&mut self, name: &str) -> Option<Record> {
        self.records.remove(name)
    }

    /// A name for a model of this source that no other model has: `wanted`, else `wanted-2`, ….
    #[must_use]
    pub fn free_name(&self, wanted: &str, source: &Source) -> String {
        let free = |name: &str| self.records.get(name).is_none_or(|r| r.source == *source);
        if free(wanted) {
            return wanted.to_owned();
        }
        (2u32..)
            .map(|n| format!("{wanted}-{n}"))
            .find(|name| free(name))
            .expect("the table is shorter than the numbers")
    }

    /// Which model a request's name means, from the strictest reading to the most lenient, each
    /// only if it means one model: the exact name; the name in any case; a catalog name; the
    /// name without its quantization; without its organisation too.
    #[must_use]
    pub fn find(&self, name: &str, catalog: &Catalog) -> Found<'_> {
        let name = name.trim();
        if let Some(record) = self.records.get(name) {
            return Found::One(record);
        }
        let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
        let entry = catalog.entry(name);
        let readings: [&dyn Fn(&Record) -> bool; 4] = [
            &|r| same(&r.name, name),
            &|r| entry.is_some_and(|entry| entry.is_of(r)),
            &|r| same(without_quant(&r.name), name),
            &|r| same(short(without_quant(&r.name)), name) || same(short(&r.name), name),
        ];
        for reading in readings {
            let matching: Vec<_> = self.records.values().filter(|r| reading(r)).collect();
            match matching.as_slice() {
                [] => {}
                [one] => return Found::One(one),
                several => {
                    return Found::Several(several.iter().map(|r| r.name.clone()).collect());
                }
            }
        }
        Found::None
    }

    /// Bytes of the models that the store owns.
    #[must_use]
    pub fn owned_bytes(&self) -> u64 {
        self.records
            .values()
            .fold(0, |sum, r| sum.saturating_add(r.owned_size()))
    }

    /// The owned models that nobody uses.
    #[must_use]
    pub fn removable(&self, in_use: impl Fn(&str) -> bool) -> Vec<Removable> {
        let owned = self
            .records
            .values()
            .filter(|r| r.owned_size() > 0 && !in_use(&r.name));
        owned
            .map(|r| Removable {
                name: r.name.clone(),
                size: r.owned_size(),
                last_used: r.last_used,
            })
            .collect()
    }
}

fn without_quant(name: &str) -> &str {
    name.split_once(':').map_or(name, |(base, _)| base)
}

fn short(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_, rest)| rest)
}

#[cfg(test)]
mod tests;
