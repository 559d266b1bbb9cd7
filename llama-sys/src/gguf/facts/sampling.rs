//! Sampling parameters that a model's makers advise (`general.sampling.*`). Numbers out of range
//! are no advice; whoever samples has its own defaults.

use std::ops::RangeInclusive;

use serde::Serialize;

use super::super::header::Header;

/// What a model's makers advise, each only where they do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct SamplingDefaults {
    /// 0 to 2.
    pub temperature: Option<f32>,
    /// 0: off.
    pub top_k: Option<u32>,
    /// 0 to 1.
    pub top_p: Option<f32>,
    /// 0 to 1.
    pub min_p: Option<f32>,
    /// Above 0; 1: off.
    pub repeat_penalty: Option<f32>,
    /// Tokens that the penalties look back.
    pub penalty_last_n: Option<u32>,
}

impl SamplingDefaults {
    pub(super) fn read(header: &Header) -> Self {
        let float = |name, range| float(header, name, range);
        let count = |name: &str| {
            let found = header.unsigned(&format!("general.sampling.{name}"))?;
            u32::try_from(found).ok()
        };
        Self {
            temperature: float("temp", 0.0..=2.0),
            top_k: count("top_k"),
            top_p: float("top_p", 0.0..=1.0),
            min_p: float("min_p", 0.0..=1.0),
            repeat_penalty: float("penalty_repeat", f32::MIN_POSITIVE..=10.0),
            penalty_last_n: count("penalty_last_n"),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "an f32 in the file, widened in between"
)]
fn float(header: &Header, name: &str, range: RangeInclusive<f32>) -> Option<f32> {
    let found = header.float(&format!("general.sampling.{name}"))? as f32;
    range.contains(&found).then_some(found)
}
