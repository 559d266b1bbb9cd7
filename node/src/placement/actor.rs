//! The task that owns the core: it shows it how things are, each second and at each end of an errand,
//! and has done what it says.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use protocol::{ModelName, NodeId};
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio::task::JoinSet;
use web::manage::{Fetching, PlacedModel, PlacementReport};

use super::errands::Hands;
use super::looking::Looking;
use super::{Moving, Shown};
use crate::core::placement::{Input, Placement, Policy, Scene};

/// How often it is looked at how things are: a model without a server waits so long before anybody
/// draws lots.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// When a node that was started without a model chooses one: what a swarm asks for is heard by then.
const BEGIN_AFTER: Duration = Duration::from_secs(20);

pub(super) struct Actor {
    core: Placement,
    hands: Hands,
    shown: Shown,
    rng: StdRng,
    errands: JoinSet<Input>,
    kept: BTreeSet<ModelName>,
    closed: Option<&'static str>,
}

impl Actor {
    pub(super) fn new(own: NodeId, policy: Policy, hands: Hands, shown: Shown) -> Self {
        Self {
            core: Placement::new(own, policy),
            hands,
            shown,
            rng: rand::make_rng(),
            errands: JoinSet::new(),
            kept: BTreeSet::new(),
            closed: None,
        }
    }

    pub(super) async fn run(
        mut self,
        mut looking: Looking,
        mut fetched: watch::Receiver<Option<Fetching>>,
        begins: bool,
    ) {
        let mut begins_at = begins.then(|| now() + BEGIN_AFTER);
        loop {
            let is_beginning = begins_at.is_some_and(|at| at <= now());
            let input = match is_beginning {
                true => Input::Start,
                false => self.select(begins_at).await,
            };
            begins_at = begins_at.filter(|_| !is_beginning);
            let scene = looking.look(is_beginning).await;
            self.apply(scene, input);
            self.show(fetched.borrow_and_update().clone());
            self.keep().await;
        }
    }

    async fn select(&mut self, begins_at: Option<Instant>) -> Input {
        let next = now() + LOOK_EVERY;
        let due = [self.core.next_deadline(), begins_at, Some(next)];
        let due = due.into_iter().flatten().min().unwrap_or(next);
        tokio::select! {
            biased;
            Some(done) = self.errands.join_next() => match done {
                Ok(input) => input,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => Input::Tick,
            },
            () = tokio::time::sleep_until(due.into()) => Input::Tick,
        }
    }

    fn apply(&mut self, scene: Scene, input: Input) {
        self.closed = scene.closed;
        let mut out = Vec::new();
        let now = now();
        let scene = Input::Scene(Box::new(scene));
        self.core.handle(scene, now, &mut self.rng, &mut out);
        self.core.handle(input, now, &mut self.rng, &mut out);
        for output in out {
            self.errands.spawn(self.hands.clone().run(output));
        }
    }

    /// Tells peers and the owner.
    fn show(&self, fetching: Option<Fetching>) {
        let moving = Moving {
            coming: self.core.coming(),
            leaving: self.core.leaving(),
        };
        set_if_new(&self.shown.moving, moving);
        let accounts = self.core.accounts(now()).into_iter();
        let report = PlacementReport {
            closed: self.closed.map(ToOwned::to_owned),
            fetching,
            models: accounts
                .map(|account| PlacedModel {
                    model: account.model.to_string(),
                    state: account.state.to_owned(),
                    why: account.why,
                })
                .collect(),
        };
        set_if_new(&self.shown.report, report);
    }

    async fn keep(&mut self) {
        let kept = self.core.kept();
        if kept != self.kept {
            self.kept.clone_from(&kept);
            self.hands.residency.keep(kept).await;
        }
    }
}

fn set_if_new<T: PartialEq>(shown: &watch::Sender<T>, value: T) {
    shown.send_if_modified(|known| {
        let is_new = *known != value;
        if is_new {
            *known = value;
        }
        is_new
    });
}

/// The runtime's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
