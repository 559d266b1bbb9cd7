//! Whether there is room on the disk for what is to be fetched, and what could make room. It
//! measures nothing and removes nothing.

use std::fmt;

/// How the disk and the store stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes free on the disk.
    pub free: u64,
    /// Bytes that must stay free on it.
    pub reserve: u64,
    /// Bytes that the store takes now.
    pub used: u64,
    /// Bytes that the store may take.
    pub budget: Option<u64>,
}

/// A model that could go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removable {
    /// Its name.
    pub name: String,
    /// Bytes that removing it frees.
    pub size: u64,
    /// Unix seconds of its last use.
    pub last_used: u64,
}

/// Whether there is room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Room {
    /// There is.
    Fits,
    /// There would be after these are removed, least recently used first.
    After(Vec<Removable>),
    /// There would not be even then.
    Never(Shortage),
}

/// What is missing, for the person who has to choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// Bytes wanted.
    pub need: u64,
    /// Bytes missing.
    pub short: u64,
    /// Whether the budget, not the disk, is what is short.
    pub by_budget: bool,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.by_budget {
            "the store's budget"
        } else {
            "the disk"
        };
        write!(
            f,
            "{} wanted, {} too much for {place}",
            Bytes(self.need),
            Bytes(self.short)
        )
    }
}

/// Bytes in words (`1.5 GB`), decimal as the hub writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0 as f64;
        match self.0 {
            0..1_000_000 => write!(f, "{:.0} kB", value / 1e3),
            1_000_000..1_000_000_000 => write!(f, "{:.0} MB", value / 1e6),
            _ => write!(f, "{:.1} GB", value / 1e9),
        }
    }
}

impl Space {
    /// What `need` more bytes lack.
    #[must_use]
    pub fn shortage(&self, need: u64) -> Option<Shortage> {
        let disk = need.saturating_add(self.reserve).saturating_sub(self.free);
        let budget = self.budget.map_or(0, |budget| {
            self.used.saturating_add(need).saturating_sub(budget)
        });
        let short = disk.max(budget);
        let by_budget = budget > disk;
        (short > 0).then_some(Shortage {
            need,
            short,
            by_budget,
        })
    }
}

/// Whether `need` more bytes fit, and which of the removable models would make room: the least
/// recently used, as few as suffice, those left out again that later ones make needless.
#[must_use]
pub fn room_for(need: u64, space: &Space, removable: Vec<Removable>) -> Room {
    let Some(shortage) = space.shortage(need) else {
        return Room::Fits;
    };
    let mut oldest_first = removable;
    oldest_first.sort_by(|a, b| (a.last_used, &a.name).cmp(&(b.last_used, &b.name)));
    let mut chosen: Vec<Removable> = Vec::new();
    let mut freed = 0u64;
    for model in oldest_first.into_iter().filter(|model| model.size > 0) {
        if freed >= shortage.short {
            break;
        }
        freed = freed.saturating_add(model.size);
        chosen.push(model);
    }
    if freed < shortage.short {
        return Room::Never(shortage);
    }
    chosen.retain(|model| {
        let needless = freed - model.size >= shortage.short;
        if needless {
            freed -= model.size;
        }
        !needless
    });
    Room::After(chosen)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn model(name: &str, size: u64, last_used: u64) -> Removable {
        Removable {
            name: name.into(),
            size,
            last_used,
        }
    }

    const SPACE: Space = Space {
        free: 100,
        reserve: 10,
        used: 50,
        budget: Some(80),
    };

    #[test]
    fn the_disk_the_reserve_and_the_budget_all_hold() {
        assert_eq!(room_for(30, &SPACE, vec![]), Room::Fits);
        let over = Shortage {
            need: 31,
            short: 1,
            by_budget: true,
        };
        assert_eq!(room_for(31, &SPACE, vec![]), Room::Never(over));
        let free = Space {
            budget: None,
            ..SPACE
        };
        assert_eq!(room_for(90, &free, vec![]), Room::Fits);
        let over = Shortage {
            need: 91,
            short: 1,
            by_budget: false,
        };
        assert_eq!(room_for(91, &free, vec![]), Room::Never(over));
        assert!(matches!(room_for(u64::MAX, &SPACE, vec![]), Room::Never(_)));
    }

    #[test]
    fn the_oldest_go_first_and_none_goes_for_nothing() {
        let (a, b, c) = (model("a", 5, 1), model("b", 40, 2), model("c", 40, 3));
        let room = room_for(35, &SPACE, vec![c.clone(), b.clone(), a.clone()]);
        assert_eq!(room, Room::After(vec![a.clone()]));
        let room = room_for(65, &SPACE, vec![c, b.clone(), a]);
        assert_eq!(
            room,
            Room::After(vec![b]),
            "a alone is too small, b alone is enough"
        );
    }

    #[test]
    fn bytes_are_written_for_people() {
        let text = |bytes| Bytes(bytes).to_string();
        assert_eq!(
            [text(900), text(98_000_000), text(4_683_000_000)],
            ["1 kB", "98 MB", "4.7 GB"]
        );
    }

    proptest! {
        #[test]
        fn what_is_chosen_suffices_and_none_of_it_is_needless(
            need in 0u64..200,
            sizes in proptest::collection::vec((0u64..60, 0u64..9), 0..8),
        ) {
            let models: Vec<_> = sizes.iter().enumerate()
                .map(|(i, &(size, used))| model(&i.to_string(), size, used)).collect();
            let total: u64 = models.iter().map(|m| m.size).sum();
            match room_for(need, &SPACE, models) {
                Room::Fits => prop_assert!(SPACE.shortage(need).is_none()),
                Room::After(chosen) => {
                    let short = SPACE.shortage(need).unwrap().short;
                    let freed: u64 = chosen.iter().map(|m| m.size).sum();
                    prop_assert!(freed >= short);
                    prop_assert!(chosen.iter().all(|m| freed - m.size < short));
                }
                Room::Never(shortage) => prop_assert!(total < shortage.short),
            }
        }
    }
}
