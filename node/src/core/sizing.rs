//! How large a model's context is made, and what it then takes. It knows the header's facts and
//! a budget, no machine.

use llama_sys::gguf::ModelFacts;

/// Tokens of one sequence where nothing else is asked for. Longer contexts cost memory that most
/// chats never use.
pub const DEFAULT_CONTEXT: u32 = 8192;

/// Sequences at once where nothing else is asked for. They share one pool of cells, so more of
/// them cost little until they are used.
pub const DEFAULT_PARALLEL: u32 = 16;

/// Tokens below which a context is not cut for lack of memory: less holds no conversation.
pub const MIN_CONTEXT: u32 = 2048;

/// Cells of the cache for each sequence; one sequence alone may use them all.
const CELLS_PER_SEQUENCE: u32 = 512;

/// What the owner wants. `None`: as fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wish {
    /// Tokens of one sequence.
    pub context: Option<u32>,
    /// Sequences at once.
    pub parallel: Option<u32>,
}

/// How a model is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Tokens of one sequence.
    pub context: u32,
    /// Sequences at once.
    pub parallel: u32,
    /// Cells of the cache that all sequences share.
    pub cells: u32,
    /// Memory that it takes, bytes, by the header's facts.
    pub need_bytes: u64,
}

/// The size for a model: the wished context, else the default one cut in halves until it fits
/// the budget. Never longer than the model was trained for. What does not fit even so is told by
/// `need_bytes`.
pub fn size(facts: &ModelFacts, wish: Wish, budget_bytes: u64) -> Size {
    let parallel = wish.parallel.unwrap_or(DEFAULT_PARALLEL).max(1);
    let trained = match facts.context_length {
        0 => u32::MAX,
        tokens => tokens,
    };
    let mut context = wish.context.unwrap_or(DEFAULT_CONTEXT).clamp(1, trained);
    loop {
        let size = sized(facts, context, parallel);
        let cut = context / 2;
        if size.need_bytes <= budget_bytes || wish.context.is_some() || cut < MIN_CONTEXT {
            return size;
        }
        context = cut;
    }
}

fn sized(facts: &ModelFacts, context: u32, parallel: u32) -> Size {
    let cells = parallel.saturating_mul(CELLS_PER_SEQUENCE).max(context);
    let estimate = facts.memory_estimate(cells.into(), parallel.into());
    Size {
        context,
        parallel,
        cells,
        need_bytes: estimate.total(),
    }
}

/// The share of the machine's memory that loaded models may take where the owner sets no limit:
/// nine tenths less what the system and the owner's programs take as a rule.
pub fn default_budget(total_bytes: u64) -> u64 {
    let reserve = (total_bytes / 4).min(RESERVE_BYTES);
    (total_bytes / 10 * 9).saturating_sub(reserve)
}

/// Left to the system and to other programs on a machine that has plenty.
const RESERVE_BYTES: u64 = 2 << 30;

#[cfg(test)]
mod tests {
    use llama_sys::gguf::{Header, specimen};
    use proptest::prelude::*;

    use super::*;

    fn facts(context_length: u32) -> ModelFacts {
        let bytes = specimen::tiny_llama().bytes();
        let header = Header::read(&mut std::io::Cursor::new(bytes)).unwrap();
        let facts = ModelFacts::from_header(&header).unwrap();
        ModelFacts {
            context_length,
            ..facts
        }
    }

    #[test]
    fn the_default_is_bounded_by_the_models_own() {
        let none = Wish::default();
        assert_eq!(
            size(&facts(100_000), none, u64::MAX).context,
            DEFAULT_CONTEXT
        );
        assert_eq!(size(&facts(512), none, u64::MAX).context, 512);
        assert_eq!(size(&facts(0), none, u64::MAX).context, DEFAULT_CONTEXT);
        let wish = Wish {
            context: Some(50_000),
            parallel: Some(1),
        };
        assert_eq!(size(&facts(100_000), wish, 0).context, 50_000);
    }

    #[test]
    fn little_memory_cuts_the_default_context_down_to_a_floor() {
        let wish = Wish {
            context: None,
            parallel: Some(1),
        };
        assert_eq!(size(&facts(100_000), wish, 0).context, MIN_CONTEXT);
    }

    #[test]
    fn the_budget_leaves_room() {
        assert_eq!(default_budget(0), 0);
        assert!(default_budget(4 << 30) < 3 << 30);
        assert!(default_budget(64 << 30) > 54 << 30);
    }

    proptest! {
        #[test]
        fn sizes_are_sound(trained: u32, context: Option<u32>, parallel: Option<u32>, budget: u64) {
            let size = size(&facts(trained), Wish { context, parallel }, budget);
            prop_assert!(size.context >= 1 && size.parallel >= 1);
            prop_assert!(size.cells >= size.context);
            prop_assert!(trained == 0 || size.context <= trained);
        }
    }
}
