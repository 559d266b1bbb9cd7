//! The blackboard's calls of the client.

use reqwest::Method;
use serde_json::{Value, json};
use web::boards::{
    AuthorChange, AuthorView, BoardSummary, Following, NewNote, NoteQuery, NoteView, Posting,
    Standing,
};

use super::{Client, ClientError, Events, escape};

impl Client {
    /// Posts a note.
    ///
    /// # Errors
    /// See [`ClientError`]; so for all that follow.
    pub async fn post_note(&self, note: &NewNote) -> Result<NoteView, ClientError> {
        let request = self.request(Method::POST, "/api/boards/notes").json(note);
        self.json(request).await
    }

    /// One note.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn note(&self, id: &str) -> Result<NoteView, ClientError> {
        self.json(self.request(Method::GET, &note_path(id))).await
    }

    /// Notes, newest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn notes(&self, query: &NoteQuery) -> Result<Vec<NoteView>, ClientError> {
        let path = format!("/api/boards/notes{}", query_text(query));
        self.json(self.request(Method::GET, &path)).await
    }

    /// Takes a note of the node's own back.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn withdraw_note(&self, id: &str) -> Result<(), ClientError> {
        let request = self.request(Method::DELETE, &note_path(id));
        self.send(request).await.map(|_| ())
    }

    /// An attachment's bytes.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn attachment(&self, id: &str, index: usize) -> Result<Vec<u8>, ClientError> {
        let path = format!("{}/attachments/{index}", note_path(id));
        let response = self.send(self.request(Method::GET, &path)).await?;
        self.body(response).await
    }

    /// Notes as they come. The answer has no end of its own.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn watch_notes(&self, board: Option<&str>) -> Result<Events<NoteView>, ClientError> {
        let query = board.map_or(String::new(), |board| format!("?board={}", escape(board)));
        let request = self.request(Method::GET, &format!("/api/boards/watch{query}"));
        Ok(Events::new(self.send(request).await?, self.base.clone()))
    }

    /// The boards.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn boards(&self) -> Result<Vec<BoardSummary>, ClientError> {
        self.json(self.request(Method::GET, "/api/boards")).await
    }

    /// Has the node keep a board's notes, or not.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn follow_board(&self, board: &str, followed: bool) -> Result<(), ClientError> {
        let board = board.to_owned();
        self.tell("follow", &Following { board, followed }).await
    }

    /// Whether the node posts.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn is_posting_allowed(&self) -> Result<bool, ClientError> {
        let asked = self.request(Method::GET, "/api/boards/posting");
        let posting: Posting = self.json(asked).await?;
        Ok(posting.allowed)
    }

    /// Lets the node post, or stops it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn allow_posting(&self, allowed: bool) -> Result<(), ClientError> {
        self.tell("posting", &Posting { allowed }).await
    }

    /// The authors known there.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn authors(&self) -> Result<Vec<AuthorView>, ClientError> {
        self.json(self.request(Method::GET, "/api/boards/authors"))
            .await
    }

    /// Gives an author a standing.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_author(&self, author: &str, standing: Standing) -> Result<(), ClientError> {
        let author = author.to_owned();
        let change = AuthorChange { author, standing };
        self.tell("authors", &change).await
    }

    async fn tell(&self, what: &str, body: &impl serde::Serialize) -> Result<(), ClientError> {
        let path = format!("/api/boards/{what}");
        let request = self.request(Method::POST, &path).json(body);
        self.send(request).await.map(|_| ())
    }
}

fn note_path(id: &str) -> String {
    // A slash would be another path; no id has one.
    format!("/api/boards/notes/{}", escape(id).replace('/', "%2F"))
}

/// `?name=value&…` of the fields that are there.
fn query_text(query: &NoteQuery) -> String {
    let Value::Object(fields) = json!(query) else {
        return String::new();
    };
    let pairs = fields.iter().map(|(name, value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), escape);
        format!("{name}={text}")
    });
    let pairs = pairs.collect::<Vec<_>>().join("&");
    match pairs.is_empty() {
        true => pairs,
        false => format!("?{pairs}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_escaped() {
        assert_eq!(query_text(&NoteQuery::default()), "");
        let query = NoteQuery {
            text: Some("\"a&b\" c+d=é".into()),
            since: Some(7),
            ..NoteQuery::default()
        };
        let text = query_text(&query);
        assert_eq!(text, "?text=%22a%26b%22%20c%2Bd%3D%C3%A9&since=7");
    }

    #[test]
    fn an_id_is_one_segment() {
        assert_eq!(note_path("../x"), "/api/boards/notes/..%2Fx");
    }
}
