//! Whom this node's owner trusts, and whom not: names and standings of authors.

use std::collections::BTreeMap;

use protocol::NodeId;
use serde::{Deserialize, Serialize};

/// Authors that have a standing: named one by one by a person.
pub const MAX_AUTHORS: usize = 4096;

/// A name's bytes, at most: shown beside every note.
pub const MAX_NAME_BYTES: usize = 48;

/// What the owner says of an author.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Believed; the name is the owner's for it.
    Trusted {
        /// What it is called here.
        name: Option<String>,
    },
    /// Its notes are neither kept, shown nor passed on.
    Muted,
}

/// Why an author has no such standing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StandingError {
    /// Empty, too long, with control characters, or a node's id.
    #[error(
        "a name has 1 to {MAX_NAME_BYTES} bytes of printable text, and is no node's id: give \
         another"
    )]
    Name,
    /// Somebody else is called so.
    #[error("{holder} is called so already: give another name")]
    Taken {
        /// Who.
        holder: NodeId,
    },
    /// Too many have one.
    #[error("{MAX_AUTHORS} authors have a standing: remove one first")]
    Full,
}

/// Every author that has a standing.
#[derive(Debug, Clone, Default)]
pub struct Standings {
    authors: BTreeMap<NodeId, Standing>,
}

impl Standings {
    /// Those that were kept; of more than [`MAX_AUTHORS`] the first.
    pub fn new(authors: impl IntoIterator<Item = (NodeId, Standing)>) -> Self {
        Self {
            authors: authors.into_iter().take(MAX_AUTHORS).collect(),
        }
    }

    /// What the owner says of this author; `None`: nothing.
    pub fn of(&self, author: &NodeId) -> Option<&Standing> {
        self.authors.get(author)
    }

    /// What the owner calls this author.
    pub fn name(&self, author: &NodeId) -> Option<&str> {
        match self.of(author) {
            Some(Standing::Trusted { name }) => name.as_deref(),
            _ => None,
        }
    }

    /// Whether its notes are left out.
    pub fn is_muted(&self, author: &NodeId) -> bool {
        matches!(self.of(author), Some(Standing::Muted))
    }

    /// Who is called so.
    pub fn named(&self, name: &str) -> Option<NodeId> {
        let mut authors = self.authors.keys();
        authors
            .find(|author| self.name(author) == Some(name))
            .copied()
    }

    /// Everybody, by id.
    pub fn all(&self) -> impl Iterator<Item = (&NodeId, &Standing)> {
        self.authors.iter()
    }

    /// What an author's standing becomes; trust without a name keeps the one that there is.
    ///
    /// # Errors
    /// See [`StandingError`].
    pub fn change(
        &self,
        author: NodeId,
        standing: Option<Standing>,
    ) -> Result<Option<Standing>, StandingError> {
        let is_new = standing.is_some() && !self.authors.contains_key(&author);
        if is_new && self.authors.len() >= MAX_AUTHORS {
            return Err(StandingError::Full);
        }
        match standing {
            Some(Standing::Trusted { name: None }) => Ok(Some(Standing::Trusted {
                name: self.name(&author).map(str::to_owned),
            })),
            Some(Standing::Trusted { name: Some(name) }) => {
                self.check_name(author, &name)?;
                Ok(Some(Standing::Trusted { name: Some(name) }))
            }
            other => Ok(other),
        }
    }

    /// Takes what [`Standings::change`] gave.
    pub fn set(&mut self, author: NodeId, standing: Option<Standing>) {
        match standing {
            Some(standing) => self.authors.insert(author, standing),
            None => self.authors.remove(&author),
        };
    }

    fn check_name(&self, author: NodeId, name: &str) -> Result<(), StandingError> {
        let is_printable = !name.chars().any(char::is_control) && !name.trim().is_empty();
        let is_id = name.parse::<NodeId>().is_ok();
        if name.len() > MAX_NAME_BYTES || !is_printable || is_id {
            return Err(StandingError::Name);
        }
        match self.named(name) {
            Some(holder) if holder != author => Err(StandingError::Taken { holder }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;

    fn node(seed: u8) -> NodeId {
        NodeId::from(&SigningKey::from_bytes(&[seed; 32]))
    }

    fn trusted(name: &str) -> Option<Standing> {
        Some(Standing::Trusted {
            name: Some(name.into()),
        })
    }

    #[test]
    fn names_are_one_authors_each_and_no_ids() {
        let mut standings = Standings::default();
        let ann = standings.change(node(1), trusted("ann")).unwrap();
        standings.set(node(1), ann);
        assert_eq!(standings.named("ann"), Some(node(1)));
        let taken = standings.change(node(2), trusted("ann"));
        assert_eq!(taken, Err(StandingError::Taken { holder: node(1) }));
        let id = node(3).to_string();
        for name in ["", " ", "a\n", &"x".repeat(49), &id] {
            let result = standings.change(node(2), trusted(name));
            assert_eq!(result, Err(StandingError::Name), "{name:?}");
        }
        let again = standings.change(node(1), Some(Standing::Trusted { name: None }));
        assert_eq!(again, Ok(trusted("ann")));
    }

    #[test]
    fn muted_authors_have_no_name_and_standings_end() {
        let mut standings = Standings::new([(node(1), Standing::Muted)]);
        assert!(standings.is_muted(&node(1)) && !standings.is_muted(&node(2)));
        assert_eq!(standings.name(&node(1)), None);
        standings.set(node(1), standings.change(node(1), None).unwrap());
        assert_eq!(standings.of(&node(1)), None);
        assert_eq!(standings.all().count(), 0);
    }
}
