//! The models that are here, and which of them a request's name means. It keeps the records in
//! memory; writing them down is the registry's business.

use std::collections::BTreeMap;

use protocol::ModelName;

use super::catalog::Catalog;
use super::record::{Record, Source};
use super::room::Removable;

/// Longest name that is given, bytes: ten less than protocol's limit, for a number behind it.
const MAX_NAME_BYTES: usize = protocol::limits::MAX_MODEL_NAME_BYTES - 10;

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

    /// A name for a model of this source that requests can use and no other model has: the
    /// nearest valid one to `wanted`, numbered if it is taken.
    #[must_use]
    pub fn free_name(&self, wanted: &str, source: &Source) -> String {
        let free = |name: &str| self.records.get(name).is_none_or(|r| r.source == *source);
        let wanted = valid_name(wanted);
        if free(&wanted) {
            return wanted;
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
        let valid = valid_name(name);
        let readings: [&dyn Fn(&Record) -> bool; 4] = [
            &|r| same(&r.name, name) || (!name.is_empty() && same(&r.name, &valid)),
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

/// The nearest text to this one that [`ModelName`] allows, with room left for a number.
fn valid_name(wanted: &str) -> String {
    if ModelName::check(wanted).is_ok() && wanted.len() <= MAX_NAME_BYTES {
        return wanted.to_owned();
    }
    let (base, variant) = match wanted.split_once(':') {
        Some((base, variant)) => (base, Some(variant)),
        None => (wanted, None),
    };
    let mut name = match base.split_once('/') {
        Some((org, repo)) => format!("{}/{}", valid_part(org), valid_part(repo)),
        None => valid_part(base),
    };
    if let Some(variant) = variant {
        let parts: Vec<_> = variant.split('/').map(valid_part).collect();
        name = format!("{name}:{}", parts.join("/"));
    }
    name.truncate(MAX_NAME_BYTES);
    name.trim_end_matches([':', '/']).to_owned()
}

fn valid_part(part: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+');
    let safe: String = part
        .chars()
        .map(|c| if plain(c) { c } else { '-' })
        .collect();
    let safe = safe.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    if safe.is_empty() {
        "x".to_owned()
    } else {
        safe.to_owned()
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
