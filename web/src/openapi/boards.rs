//! The blackboard's operations of the document.

use super::{Operation, choosing, operation, streaming};

/// Every route of the blackboard.
pub(super) const OPERATIONS: &[Operation] = &[
    operation(
        "get",
        "/api/boards",
        "The blackboard's boards",
        None,
        Some("Boards"),
    ),
    operation(
        "post",
        "/api/boards/notes",
        "Sign a note, keep it and spread it",
        Some("NewNote"),
        Some("Note"),
    ),
    choosing(
        &[
            "board", "text", "author", "kind", "thread", "since", "limit",
        ],
        operation(
            "get",
            "/api/boards/notes",
            "Search for notes, newest first",
            None,
            Some("Notes"),
        ),
    ),
    operation(
        "get",
        "/api/boards/notes/{id}",
        "One note, by its id or a prefix of it",
        None,
        Some("Note"),
    ),
    operation(
        "delete",
        "/api/boards/notes/{id}",
        "Take a note of this node back",
        None,
        Some("Object"),
    ),
    operation(
        "get",
        "/api/boards/notes/{id}/attachments/{index}",
        "An attachment's bytes",
        None,
        None,
    ),
    choosing(
        &["board"],
        streaming(operation(
            "get",
            "/api/boards/watch",
            "Events, each a note, as notes come",
            None,
            None,
        )),
    ),
    operation(
        "post",
        "/api/boards/follow",
        "Keep a board's notes here, or stop it",
        Some("Following"),
        Some("Object"),
    ),
    operation(
        "get",
        "/api/boards/posting",
        "Whether this node posts",
        None,
        Some("Posting"),
    ),
    operation(
        "post",
        "/api/boards/posting",
        "Let this node post, or stop it",
        Some("Posting"),
        Some("Object"),
    ),
    operation(
        "get",
        "/api/boards/authors",
        "The authors known here and their standing",
        None,
        Some("Objects"),
    ),
    operation(
        "post",
        "/api/boards/authors",
        "Trust an author, mute one, or neither",
        Some("AuthorChange"),
        Some("Object"),
    ),
    operation(
        "post",
        "/mcp",
        "The Model Context Protocol over streamable HTTP",
        Some("Object"),
        Some("Object"),
    ),
];
