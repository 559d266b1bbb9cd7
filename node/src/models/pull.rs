//! One pull from its name to its last event, and the download behind it: room, files, header,
//! placing. It decides nothing about names or room; [`super::core`] does.

use std::sync::Arc;
use std::time::Duration;

use llama_sys::gguf::Model;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use web::manage::PullEvent;

use super::core::plan::Plan;
use super::core::record::Record;
use super::core::room::{Removable, Room, Space, room_for};
use super::disk::Stage;
use super::download::{Download, DownloadError, blocking};
use super::error::PullError;
use super::flight::{self, Reporter};
use super::inner::{Inner, not_a_model, record_of, stored_model};
use super::resolve::{Wanted, from_address, from_repository};
use super::{Models, PullTicket};

/// How long a staging folder may stay locked by a write that an ended pull left behind.
const LOCK_WAIT: Duration = Duration::from_secs(3);
/// How often the lock is tried meanwhile.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// Runs a pull until its end or until nobody listens.
pub(super) async fn run(
    models: Models,
    wanted: Wanted,
    events: mpsc::Sender<PullEvent>,
    ticket: PullTicket,
) {
    let ended = tokio::select! {
        () = events.closed() => return,
        ended = fetch(&models, wanted, &events) => ended,
    };
    drop(ticket);
    let last = match ended {
        Ok(record) => PullEvent::Done {
            model: stored_model(&record, &models.inner.disk),
        },
        Err(error) => PullEvent::Failed {
            message: error.to_string(),
        },
    };
    let _ = events.send(last).await;
}

async fn fetch(
    models: &Models,
    wanted: Wanted,
    events: &mpsc::Sender<PullEvent>,
) -> Result<Record, PullError> {
    let inner = &models.inner;
    let mut plan = match wanted {
        Wanted::File(path) => {
            let model = models.add_file(&path).await?;
            let record = inner.state().table.record(&model.name).cloned();
            return record.ok_or(PullError::Ended);
        }
        Wanted::Address(url) => from_address(&inner.hub, &url).await?,
        Wanted::Repository {
            repo,
            select,
            entry,
        } => from_repository(&inner.hub, &repo, select.as_ref(), entry).await?,
    };
    let known = inner.state().table.by_source(&plan.source).cloned();
    if let Some(record) = known.filter(|record| inner.paths(record).iter().all(|p| p.is_file())) {
        return Ok(record);
    }
    plan.name = inner.state().table.free_name(&plan.name, &plan.source);
    let total_bytes = plan.size();
    let resolved = PullEvent::Resolved {
        name: plan.name.clone(),
        files: plan.files.len(),
        total_bytes,
    };
    let _ = events.send(resolved).await;
    let folder = plan.source.folder();
    let state = inner.flights.join(&folder, total_bytes, |reporter| {
        download(inner.clone(), plan, reporter)
    });
    flight::follow(state, total_bytes, events).await
}

/// Fetches what a plan says into the store.
async fn download(
    inner: Arc<Inner>,
    mut plan: Plan,
    reporter: Reporter,
) -> Result<Record, PullError> {
    plan.name = inner.state().table.free_name(&plan.name, &plan.source);
    let stage = lock(&inner, &plan).await?;
    // The pull that had the lock before may have come to its end.
    if let Some(record) = inner.state().table.by_source(&plan.source) {
        return Ok(record.clone());
    }
    let (staging, staged) = (stage.clone(), plan.staged());
    blocking(move || staging.prepare(&staged))
        .await
        .map_err(DownloadError::from)?;
    make_room(&inner, &plan, &stage).await?;
    fetch_files(&inner, &plan, &stage, &reporter).await?;
    reporter.send_modify(|state| state.verifying = true);
    let task = tokio::task::spawn_blocking(move || place(&inner, &plan, &stage));
    task.await.map_err(|_| PullError::Ended)?
}

/// Locks the plan's staging folder. A pull that was just ended may hold it for the length of
/// its last write; a longer wait means another process.
async fn lock(inner: &Inner, plan: &Plan) -> Result<Stage, PullError> {
    let until = Instant::now() + LOCK_WAIT;
    loop {
        let (disk, folder) = (inner.disk.clone(), plan.source.folder());
        let stage = blocking(move || disk.stage(&folder))
            .await
            .map_err(DownloadError::from)?;
        match stage {
            Some(stage) => return Ok(stage),
            None if Instant::now() >= until => return Err(PullError::Busy(plan.name.clone())),
            None => sleep(LOCK_POLL).await,
        }
    }
}

/// Sees to it that the rest of the plan fits, removing models only if the configuration says so.
async fn make_room(inner: &Arc<Inner>, plan: &Plan, stage: &Stage) -> Result<(), PullError> {
    let shared = inner.clone();
    let stage = stage.clone();
    let (total, folder) = (plan.size(), plan.source.folder());
    let measure = move || shared.space(&folder).map(|space| (space, stage.bytes()));
    let (space, have) = blocking(measure).await.map_err(DownloadError::from)?;
    let need = total.saturating_sub(have);
    let removable = {
        let state = inner.state();
        state.table.removable(|name| state.holds.contains_key(name))
    };
    let evict = inner.config.evict_unused;
    let names = |models: &[Removable]| models.iter().map(|model| model.name.clone()).collect();
    let refused = |shortage, remove| PullError::NoRoom {
        shortage,
        remove,
        evict,
    };
    match room_for(need, &space, removable) {
        Room::Fits => Ok(()),
        Room::After(models) if evict => evict_all(inner, models).await,
        Room::After(models) => {
            let shortage = space.shortage(need).expect("what fits needs no room");
            Err(refused(shortage, names(&models)))
        }
        Room::Never(shortage) => Err(refused(shortage, Vec::new())),
    }
}

async fn evict_all(inner: &Arc<Inner>, models: Vec<Removable>) -> Result<(), PullError> {
    for model in models {
        tracing::info!(
            model = model.name,
            bytes = model.size,
            "removed to make room"
        );
        let (inner, name) = (inner.clone(), model.name);
        let task = tokio::task::spawn_blocking(move || inner.remove(&name));
        let removed = task.await.map_err(|_| PullError::Ended)?;
        removed.map_err(|error| PullError::Shared(error.to_string()))?;
    }
    Ok(())
}

async fn fetch_files(
    inner: &Inner,
    plan: &Plan,
    stage: &Stage,
    reporter: &Reporter,
) -> Result<(), PullError> {
    let download = Download {
        fetch: &inner.hub,
        disk: &inner.disk,
        stage,
        patience: inner.config.hub.patience,
        reserve: inner.config.reserve_bytes,
    };
    let mut staged = plan.staged();
    let mut before = 0;
    for index in 0..plan.files.len() {
        let progress = |bytes| reporter.send_modify(|state| state.done_bytes = before + bytes);
        download
            .run(&plan.files, &mut staged, index, &progress)
            .await?;
        before += plan.files[index].file.size;
    }
    Ok(())
}

/// Reads the headers of what was fetched and makes it a model. Waits for the disk.
fn place(inner: &Inner, plan: &Plan, stage: &Stage) -> Result<Record, PullError> {
    let first = stage.file(&plan.files[0].file.name);
    let model = match Model::open(&first) {
        Ok(model) => model,
        Err(cause) => {
            inner.disk.abandon(stage).map_err(DownloadError::from)?;
            return Err(not_a_model(plan.name.clone(), cause));
        }
    };
    let mut record =
        record_of(plan.name.clone(), plan.source.clone(), &model).map_err(DownloadError::from)?;
    for file in &mut record.files {
        let planned = plan
            .files
            .iter()
            .find(|planned| planned.file.name == file.name);
        file.sha256 = planned.and_then(|planned| planned.file.sha256);
    }
    inner
        .disk
        .place(stage, &record)
        .map_err(DownloadError::from)?;
    inner.keep(&record)?;
    Ok(record)
}

impl Inner {
    /// How the disk and the store stand for a download in `folder`: what other downloads will
    /// still take counts as taken.
    fn space(&self, folder: &str) -> std::io::Result<Space> {
        let mut pledged = self.flights.pledged();
        pledged.remove(folder);
        let partials = self.disk.partials()?;
        let on_disk: u64 = partials.iter().map(|partial| partial.bytes).sum();
        let has = |name: &str| {
            partials
                .iter()
                .find(|p| p.folder == name)
                .map_or(0, |p| p.bytes)
        };
        let to_come: u64 = pledged
            .iter()
            .map(|(name, total)| total.saturating_sub(has(name)))
            .sum();
        let owned = self.state().table.owned_bytes();
        Ok(Space {
            free: self.disk.free()?.saturating_sub(to_come),
            reserve: self.config.reserve_bytes,
            used: owned.saturating_add(on_disk).saturating_add(to_come),
            budget: self.config.budget_bytes,
        })
    }
}
