//! The node's own profile, always the newest: a task that follows the loaded models, their speeds
//! and the devices. When it is worth telling is the swarm's publisher to decide; what only the
//! network knows is added there too.

use std::sync::Arc;
use std::time::Duration;

use protocol::advert::{Limits, NodeRole, Profile};
use protocol::names::SwarmName;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::core::profile::{Facts, Figures, Served, build};
use crate::devices::Devices;
use crate::placement::Moving;
use crate::residency::{Residency, Seen, View};
use crate::serving::{Serving, ServingConfig};
use crate::speeds::Speeds;

/// The least time between two profiles: a busy node's models change with every request.
const MIN_GAP: Duration = Duration::from_secs(1);

/// How often free memory and the queue of peers are looked at when nothing else changes.
const REFRESH: Duration = Duration::from_secs(60);

/// What the node is made of, as far as it says so.
pub struct Sources {
    /// The swarm that hears it.
    pub swarm: SwarmName,
    /// Whether models can be loaded here at all.
    pub role: NodeRole,
    /// Memory that the owner allows for models, bytes; `None`: no limit but the machine's.
    pub memory_bytes: Option<u64>,
    /// What the owner set about serving.
    pub config: ServingConfig,
    /// The loaded models.
    pub residency: Residency,
    /// The queue of peers.
    pub serving: Serving,
    /// The devices.
    pub devices: Arc<Devices>,
    /// What is taken on for the swarm and let go.
    pub moving: watch::Receiver<Moving>,
}

impl Sources {
    /// The newest profile, and the task that renews it until `stop`. The first has no devices
    /// yet: drivers are asked by the task.
    pub fn follow(
        self,
        stop: CancellationToken,
    ) -> (
        watch::Receiver<Profile>,
        impl Future<Output = ()> + Send + 'static,
    ) {
        let first = build(&self.facts(Vec::new()));
        let (sender, receiver) = watch::channel(first);
        let following = async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = self.run(&sender) => {}
            }
        };
        (receiver, following)
    }

    async fn run(self, sender: &watch::Sender<Profile>) {
        let mut view = self.residency.view();
        let mut speeds = self.residency.speeds().changes();
        let mut moving = self.moving.clone();
        loop {
            let devices = self.devices.figures().await;
            // What changes from here on is seen in the next round.
            view.mark_unchanged();
            speeds.mark_unchanged();
            moving.mark_unchanged();
            let profile = build(&self.facts(devices));
            sender.send_if_modified(|said| {
                let changed = *said != profile;
                if changed {
                    *said = profile;
                }
                changed
            });
            tokio::time::sleep(MIN_GAP).await;
            let changed = async {
                tokio::select! {
                    changed = view.changed() => changed,
                    changed = speeds.changed() => changed,
                    Ok(()) = moving.changed() => Ok(()),
                }
            };
            match tokio::time::timeout(REFRESH, changed).await {
                Ok(Ok(())) | Err(_) => {}
                // The residency ended, and with it the node.
                Ok(Err(_)) => return,
            }
        }
    }

    fn facts(&self, devices: Vec<Figures>) -> Facts {
        let view = self.residency.view().borrow().clone();
        Facts {
            swarm: self.swarm.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            role: self.role,
            devices,
            limits: Limits {
                memory_bytes: self.memory_bytes,
                upload_bytes_per_second: self.config.upload_bytes_per_second,
                serves_strangers: self.config.public,
            },
            own_percent: self.config.own_percent,
            served: self.served(&view),
            coming: self.moving.borrow().coming.iter().cloned().collect(),
        }
    }

    /// Models that answer now and that peers may use; those that stay first.
    fn served(&self, view: &View) -> Vec<Served> {
        let leaving = self.moving.borrow().leaving.clone();
        let offered = view.models.iter().filter(|(model, seen)| {
            let offered = self.serving.offers(model, view) && !leaving.contains(*model);
            seen.ready && offered
        });
        let speeds = self.residency.speeds();
        let mut served: Vec<_> = offered
            .map(|(model, seen)| self.one(model, seen, speeds))
            .collect();
        served.sort_by_key(|served| !view.pinned.contains(&served.model));
        served
    }

    fn one(&self, model: &protocol::ModelName, seen: &Seen, speeds: &Speeds) -> Served {
        let waiting = self.serving.waiting_for(model);
        Served {
            model: model.clone(),
            context_tokens: seen.context_tokens,
            parallel: seen.parallel,
            leases: seen.leases,
            waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
            speed: speeds.of(model),
            abilities: seen.abilities,
        }
    }
}

#[cfg(test)]
mod tests;
