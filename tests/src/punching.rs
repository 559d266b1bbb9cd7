//! One try of a hole punch between two homes: both are started anew, one serves a model, the
//! other asks for it, and how they come to be connected is watched from outside.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{
    internet::{Change, Kind, Link},
    process::wait_for,
    scene::{Peer, Scene},
    swarm::PATIENCE,
};

/// Two homes, and how far they and the server are from one another.
#[derive(Debug, Clone, Copy)]
pub struct Pair {
    /// The NAT of who asks.
    pub asker: Kind,
    /// The NAT of who serves.
    pub server: Kind,
    /// The round trip between any two of the three.
    pub rtt: Duration,
}

/// How long what took, from the last question on. Looked at every tenth of a second or so.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Outcome {
    /// Questions that were refused before it: the asker had not heard yet by which relay the
    /// server is reached.
    pub refused: u32,
    /// Until a connection of any kind was seen.
    pub connected: Option<Duration>,
    /// Until a direct connection was seen.
    pub direct: Option<Duration>,
    /// Until the answer was whole.
    pub answered: Option<Duration>,
}

impl Pair {
    /// Whether a hole can be punched: an end whose port nobody can foretell needs another end
    /// that takes whatever comes.
    pub fn can_be_direct(&self) -> bool {
        let kinds = [self.asker, self.server];
        let is_open = |kind: &Kind| matches!(kind, Kind::Forwarded(_));
        !kinds.contains(&Kind::Symmetric) || kinds.iter().any(is_open)
    }

    /// One try. It is over when there is an answer and, if there can be one, a direct connection;
    /// what has not come within `limit` of the last question is `None`.
    ///
    /// # Errors
    /// There is no internet here, or a process failed.
    pub fn attempt(&self, limit: Duration) -> Result<Outcome> {
        let mut scene = Scene::start()?;
        let link = Link::of_rtt(self.rtt);
        scene.internet.change(Change::DefaultLink(link));
        let public = scene.public()?;
        let homes = [scene.home(self.asker)?, scene.home(self.server)?];
        let bootstrap = scene.server(&public, "bootstrap")?;
        let server = scene.serving(&homes[1], "server", &[&bootstrap])?;
        server.until_reachable()?;
        let asker = scene.node(&homes[0], "asker", &[&bootstrap], &["--client"])?;
        asker.until_it_knows(&server)?;
        self.watch(&asker, &server, limit)
    }

    fn watch(&self, asker: &Peer, server: &Peer, limit: Duration) -> Result<Outcome> {
        let mut begin = Instant::now();
        let mut question = asker.ask()?;
        let mut outcome = Outcome::default();
        // Whatever has not come in time stays `None`.
        let _ = wait_for("a connection and an answer", PATIENCE, || {
            match question
                .is_answered()
                .filter(|_| outcome.answered.is_none())
            {
                Some(true) => outcome.answered = Some(begin.elapsed()),
                Some(false) => {
                    outcome = Outcome {
                        refused: outcome.refused + 1,
                        ..Outcome::default()
                    };
                    begin = Instant::now();
                    question = asker.ask().ok()?;
                }
                None => {}
            }
            let peer = asker.peer(&server.id).unwrap_or_default();
            if !peer["path"].is_null() {
                outcome.connected.get_or_insert(begin.elapsed());
            }
            if peer["path"] == "direct" {
                outcome.direct.get_or_insert(begin.elapsed());
            }
            let is_there = outcome.direct.is_some() || !self.can_be_direct();
            let is_over = is_there && outcome.connected.is_some() && outcome.answered.is_some();
            (is_over || begin.elapsed() > limit).then_some(())
        });
        Ok(outcome)
    }
}
