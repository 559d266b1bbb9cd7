//! What the API asks: [`web::Boards`]. Work that waits for the disk goes to a thread that may.

use async_trait::async_trait;
use protocol::board::{BoardName, Entry};
use tokio::sync::mpsc;
use tracing::warn;
use web::Boards;
use web::boards::{AuthorView, BoardError, BoardSummary, NewNote, NoteQuery, NoteView, Standing};

use super::Keeper;
use super::reading::Found;

#[async_trait]
impl Boards for Keeper {
    async fn list(&self) -> Result<Vec<BoardSummary>, BoardError> {
        self.run_for(|keeper| Ok(keeper.boards())).await
    }

    async fn post(&self, post: NewNote) -> Result<NoteView, BoardError> {
        let posted = self.run_for(move |keeper| keeper.write(&post)).await?;
        self.spread(&posted.entry).await;
        Ok(posted.view)
    }

    async fn read(&self, id: &str) -> Result<NoteView, BoardError> {
        let id = id.to_owned();
        self.run_for(move |keeper| keeper.note(&id)).await
    }

    async fn search(&self, query: NoteQuery) -> Result<Vec<NoteView>, BoardError> {
        let board = query.board.clone();
        let found = self.run_for(move |keeper| keeper.find(&query)).await?;
        self.announce(board.as_deref()).await;
        Ok(found)
    }

    async fn withdraw(&self, id: &str) -> Result<(), BoardError> {
        let id = id.to_owned();
        let entry = self.run_for(move |keeper| keeper.take_back(&id)).await?;
        self.spread(&entry).await;
        Ok(())
    }

    async fn attachment(&self, id: &str, index: usize) -> Result<Vec<u8>, BoardError> {
        let id = id.to_owned();
        match self
            .run_for(move |keeper| keeper.look_up(&id, index))
            .await?
        {
            Found::Here(bytes) => Ok(bytes),
            Found::Elsewhere { board, attachment } => {
                let bytes = self
                    .fetch(&board, attachment.digest, attachment.bytes)
                    .await?;
                let kept = bytes.clone();
                self.run_for(move |keeper| {
                    keeper.keep_attachment(attachment.digest, &kept);
                    Ok(())
                })
                .await?;
                Ok(bytes)
            }
        }
    }

    async fn watch(&self, board: Option<&str>) -> Result<mpsc::Receiver<NoteView>, BoardError> {
        let wanted = board.map(str::to_owned);
        let subscribe = move |keeper: &Self| keeper.subscribe(wanted.as_deref());
        let notes = self.run_for(subscribe).await?;
        self.announce(board).await;
        Ok(notes)
    }

    async fn follow(&self, board: &str, followed: bool) -> Result<(), BoardError> {
        let name: BoardName = board
            .parse()
            .map_err(|error: protocol::board::BoardNameError| {
                BoardError::Invalid(error.to_string())
            })?;
        let follow = move |keeper: &Self| keeper.follow_here(&mut keeper.state(), &name, followed);
        self.run_for(follow).await?;
        self.announce(Some(board)).await;
        Ok(())
    }

    async fn posting(&self) -> Result<bool, BoardError> {
        self.run_for(|keeper| Ok(keeper.may_post(&keeper.state())))
            .await
    }

    async fn set_posting(&self, allowed: bool) -> Result<(), BoardError> {
        self.run_for(move |keeper| keeper.set_posting_here(allowed))
            .await
    }

    async fn authors(&self) -> Result<Vec<AuthorView>, BoardError> {
        self.run_for(|keeper| Ok(keeper.known_authors())).await
    }

    async fn set_author(&self, author: &str, standing: Standing) -> Result<(), BoardError> {
        let author = author.to_owned();
        self.run_for(move |keeper| keeper.judge_author(&author, standing))
            .await
    }
}

impl Keeper {
    async fn run_for<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, BoardError> + Send + 'static,
    ) -> Result<T, BoardError> {
        let done = self.blocking(work).await;
        done.unwrap_or(Err(BoardError::Internal))
    }

    /// Tells peers. Whoever is not there now gets it by reconciling.
    async fn spread(&self, entry: &Entry) {
        self.announce(Some(entry.saying.board().as_str())).await;
        if let Some(network) = self.0.network.get()
            && let Err(error) = network.publish(entry).await
        {
            warn!(%error, "a note is told to peers when they meet");
        }
    }

    /// Follows the board in the network, or leaves it, as it is here.
    async fn announce(&self, board: Option<&str>) {
        let network = self.0.network.get();
        let board = board.and_then(|board| board.parse::<BoardName>().ok());
        let (Some(network), Some(board)) = (network, board) else {
            return;
        };
        let wanted = board.clone();
        let is_followed = self.blocking(move |keeper| {
            let state = keeper.state();
            state.desk.holdings.followed().any(|known| *known == wanted)
        });
        let told = match is_followed.await {
            Some(true) => network
                .follow(board)
                .await
                .map_err(|error| error.to_string()),
            _ => network
                .unfollow(board)
                .await
                .map_err(|error| error.to_string()),
        };
        if let Err(error) = told {
            warn!(%error, "the network does not follow a board as this node does");
        }
    }

    async fn fetch(
        &self,
        board: &BoardName,
        digest: [u8; 32],
        bytes: u32,
    ) -> Result<Vec<u8>, BoardError> {
        let Some(network) = self.0.network.get() else {
            return Err(BoardError::Unavailable(
                "the attachment is not on this node, and it is in no swarm to ask".into(),
            ));
        };
        let fetched = network.fetch_attachment(board, digest, bytes).await;
        let fetched = fetched.map_err(|error| {
            BoardError::Unavailable(format!("{error}: try again when others are connected"))
        })?;
        Ok(fetched.to_vec())
    }
}
