//! Drafts that are not sent but compared with what the model says: while it does not pay to verify
//! drafts, this tells for nothing how they would fare. Only for sources that cost nothing.

use super::Source;

/// Drafts that are compared at most: enough to see that they would pay.
pub const SHADOW_TOKENS: usize = 8;

#[derive(Debug, Clone, Copy)]
struct Compared {
    source: Source,
    drafts: [u32; SHADOW_TOKENS],
    len: usize,
    agreed: usize,
}

/// The comparison of one session.
#[derive(Debug, Clone, Default)]
pub struct Shadow {
    compared: Option<Compared>,
}

impl Shadow {
    /// Nothing is being compared: [`Self::begin`] has an effect.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.compared.is_none()
    }

    /// Begins to compare what follows with `drafts`, the first [`SHADOW_TOKENS`] of them.
    pub fn begin(&mut self, source: Source, drafts: &[u32]) {
        if drafts.is_empty() || self.compared.is_some() {
            return;
        }
        let len = drafts.len().min(SHADOW_TOKENS);
        let mut compared = Compared {
            source,
            drafts: [0; SHADOW_TOKENS],
            len,
            agreed: 0,
        };
        compared.drafts[..len].copy_from_slice(&drafts[..len]);
        self.compared = Some(compared);
    }

    /// The text's next token. Answers the source, drafts tried and drafts accepted when the
    /// comparison ends with it.
    pub fn on_token(&mut self, token: u32) -> Option<(Source, usize, usize)> {
        let compared = self.compared.as_mut()?;
        let tried = compared.agreed + 1;
        let agrees = compared.drafts[compared.agreed] == token;
        compared.agreed += usize::from(agrees);
        if agrees && tried < compared.len {
            return None;
        }
        let told = (compared.source, tried, compared.agreed);
        self.compared = None;
        Some(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comparison_ends_at_the_first_difference_or_the_last_draft() {
        let mut shadow = Shadow::default();
        assert_eq!(shadow.on_token(1), None);
        shadow.begin(Source::Model, &[1, 2, 3]);
        assert!(!shadow.is_idle());
        shadow.begin(Source::Model, &[9]);
        assert_eq!(shadow.on_token(1), None);
        assert_eq!(shadow.on_token(5), Some((Source::Model, 2, 1)));
        assert!(shadow.is_idle());
        shadow.begin(Source::Model, &[7; 20]);
        let ends: Vec<bool> = (0..9).map(|_| shadow.on_token(7).is_some()).collect();
        assert_eq!(ends.iter().position(|e| *e), Some(SHADOW_TOKENS - 1));
    }
}
