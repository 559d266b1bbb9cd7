//! One file from a [`Fetch`] into its staging folder: it carries out the steps of the transfer
//! (asking, reading, waiting, checking) and decides none of them.

use std::io;

use bytes::Bytes;
use futures::StreamExt as _;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::core::digest::Sha256;
use super::core::plan::{PlannedFile, StagedPlan};
use super::core::room::Bytes as Size;
use super::core::transfer::{Expect, Patience, Step, Transfer, Trouble};
use super::disk::{Disk, Stage};
use super::fetch::{Answer, Ask, Fetch};
use super::hub::jitter;
use super::part::PartFile;

/// Bytes gathered before they go to the disk together.
const BATCH: usize = 1 << 20;
/// Bytes between two looks at the free space: others fill the disk too.
const LOOK_EVERY: u64 = 64 << 20;

/// Why a file could not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// The server or the way to it; what came so far stays for the next attempt.
    #[error("{file}: {trouble}")]
    Trouble {
        /// The file.
        file: String,
        /// What went wrong at last.
        trouble: Trouble,
    },
    /// Others filled the disk meanwhile.
    #[error(
        "the disk is full: {free} are left, {reserve} must stay free; remove something and pull again to resume"
    )]
    DiskFull {
        /// Free now.
        free: Size,
        /// To stay free.
        reserve: Size,
    },
    /// The store's folder cannot be written.
    #[error("the store cannot be written: {0}")]
    Io(#[from] io::Error),
}

/// What a download works with.
pub(super) struct Download<'a> {
    pub(super) fetch: &'a dyn Fetch,
    pub(super) disk: &'a Disk,
    pub(super) stage: &'a Stage,
    pub(super) patience: Patience,
    pub(super) reserve: u64,
}

impl Download<'_> {
    /// Fetches the file `index` of the plan; `progress` hears how many of its bytes are there.
    pub(super) async fn run(
        &self,
        files: &[PlannedFile],
        staged: &mut StagedPlan,
        index: usize,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), DownloadError> {
        let planned = &files[index];
        let file = &planned.file;
        if self.stage.has(file) {
            progress(file.size);
            return Ok(());
        }
        let (path, lock, size) = (self.stage.part(&file.name), self.stage.lock(), file.size);
        let part = blocking(move || PartFile::open(&path, size, lock)).await?;
        let expect = Expect {
            size,
            sha256: file.sha256,
            etag: file.etag.clone(),
        };
        let mut attempt = Attempt {
            download: self,
            transfer: Transfer::new(expect, self.patience, part.len()),
            part: Some(part),
            planned,
            progress,
            looked_at: 0,
        };
        attempt.run(staged, index).await?;
        let (stage, name) = (self.stage.clone(), file.name.clone());
        Ok(blocking(move || stage.accept(&name)).await?)
    }
}

/// One file under way.
struct Attempt<'a> {
    download: &'a Download<'a>,
    transfer: Transfer,
    part: Option<PartFile>,
    planned: &'a PlannedFile,
    progress: &'a (dyn Fn(u64) + Sync),
    looked_at: u64,
}

impl Attempt<'_> {
    async fn run(&mut self, staged: &mut StagedPlan, index: usize) -> Result<(), DownloadError> {
        (self.progress)(self.transfer.have());
        let mut answer = None;
        let mut step = self.transfer.next();
        loop {
            step = match step {
                Step::Ask { from, if_range } => {
                    let (next, opened) = self.ask(from, if_range).await;
                    answer = opened;
                    next
                }
                Step::Read { from } => {
                    if from == 0 {
                        self.restart(staged, index).await?;
                    }
                    self.read(answer.take().expect("a head came before its body"))
                        .await?
                }
                Step::Wait(wait) => {
                    sleep(wait).await;
                    self.transfer.next()
                }
                Step::Scratch => {
                    self.on_part(PartFile::clear).await?;
                    self.transfer.scratch();
                    self.transfer.next()
                }
                Step::Check => match self.check().await? {
                    None => return Ok(()),
                    Some(next) => next,
                },
                Step::GiveUp(trouble) => return Err(self.give_up(trouble).await?),
            };
        }
    }

    async fn ask(&mut self, from: u64, if_range: Option<String>) -> (Step, Option<Answer>) {
        let url = self.planned.url.clone();
        match self
            .download
            .fetch
            .open(&Ask {
                url,
                from,
                until: None,
                if_range,
            })
            .await
        {
            Ok(answer) => (self.transfer.on_head(&answer.head, jitter()), Some(answer)),
            Err(trouble) => (self.transfer.on_trouble(trouble, None, jitter()), None),
        }
    }

    /// Empties the part and notes the tag that its new bytes belong to.
    async fn restart(
        &mut self,
        staged: &mut StagedPlan,
        index: usize,
    ) -> Result<(), DownloadError> {
        self.on_part(PartFile::clear).await?;
        staged.files[index].etag = self.transfer.etag().map(str::to_owned);
        let (stage, plan) = (self.download.stage.clone(), staged.clone());
        Ok(blocking(move || stage.remember(&plan)).await?)
    }

    async fn read(&mut self, answer: Answer) -> Result<Step, DownloadError> {
        let mut body = answer.body;
        let stall = self.download.fetch.stall();
        let mut batch = Vec::new();
        let mut gathered = 0;
        let step = loop {
            let chunk = match timeout(stall, body.next()).await {
                Err(_) => {
                    break self
                        .transfer
                        .on_trouble(Trouble::Stalled(stall), None, jitter());
                }
                Ok(None) => break self.transfer.on_end(jitter()),
                Ok(Some(Err(trouble))) => break self.transfer.on_trouble(trouble, None, jitter()),
                Ok(Some(Ok(chunk))) => chunk,
            };
            if let Err(step) = self.transfer.on_bytes(chunk.len() as u64) {
                break step;
            }
            gathered += chunk.len();
            batch.push(chunk);
            if gathered >= BATCH {
                gathered = 0;
                self.write(std::mem::take(&mut batch)).await?;
                if !self.may_be_gguf() {
                    break self.transfer.on_wrong(Trouble::NotGguf);
                }
            }
        };
        self.write(batch).await?;
        Ok(step)
    }

    async fn write(&mut self, batch: Vec<Bytes>) -> Result<(), DownloadError> {
        self.look_at_the_space().await?;
        self.on_part(move |part| part.append(&batch)).await?;
        (self.progress)(self.part.as_ref().map_or(0, PartFile::len));
        Ok(())
    }

    async fn look_at_the_space(&mut self) -> Result<(), DownloadError> {
        if self.transfer.have() < self.looked_at.saturating_add(LOOK_EVERY) {
            return Ok(());
        }
        self.looked_at = self.transfer.have();
        let disk = self.download.disk.clone();
        let (free, reserve) = (blocking(move || disk.free()).await?, self.download.reserve);
        if free < reserve {
            let (free, reserve) = (Size(free), Size(reserve));
            return Err(DownloadError::DiskFull { free, reserve });
        }
        Ok(())
    }

    fn may_be_gguf(&self) -> bool {
        self.part.as_ref().is_some_and(PartFile::may_be_gguf)
    }

    async fn check(&mut self) -> Result<Option<Step>, DownloadError> {
        let digest: Sha256 = self.on_part(PartFile::digest).await?;
        let wrong = self.transfer.on_digest(digest);
        if wrong.is_none() && !self.may_be_gguf() {
            return Ok(Some(Step::GiveUp(Trouble::NotGguf)));
        }
        Ok(wrong)
    }

    /// Wrong bytes are not kept: the next attempt would only trip over them again.
    async fn give_up(&mut self, trouble: Trouble) -> Result<DownloadError, DownloadError> {
        let wrong = matches!(
            trouble,
            Trouble::Digest { .. } | Trouble::NotGguf | Trouble::Size { .. }
        );
        if wrong {
            self.on_part(PartFile::clear).await?;
        }
        let file = self.planned.file.name.clone();
        Ok(DownloadError::Trouble { file, trouble })
    }

    /// Does something with the part on a blocking thread. If this future is dropped, the thread
    /// finishes and then lets go of the part and its folder's lock.
    async fn on_part<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut PartFile) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let mut part = self
            .part
            .take()
            .expect("the part comes back from each thread");
        let (part, result) = blocking(move || {
            let result = work(&mut part);
            Ok((part, result))
        })
        .await?;
        self.part = Some(part);
        result
    }
}

/// Runs what waits for the disk on a thread where it may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests;
