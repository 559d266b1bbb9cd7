//! A model hub on loopback with one repository, slow enough that a download can be cut off.
//! It speaks the hub's listing and ranged downloads; how a client treats a *hostile* hub is
//! tested beside the client.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};

/// The one repository.
pub const REPOSITORY: &str = "test/tiny";

/// What its `main` names: a client may ask by the one or the other.
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A running hub; it ends with the process.
pub struct Hub {
    /// What `HF_ENDPOINT` must be.
    pub url: String,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
}

struct File {
    name: String,
    bytes: Vec<u8>,
    sha256: String,
    pause: Duration,
}

impl Hub {
    /// Serves `file`, in parts of 64 KiB with `pause` between them.
    ///
    /// # Errors
    /// When the file cannot be read or no port is free.
    pub fn start(file: &Path, pause: Duration) -> Result<Self> {
        let bytes = std::fs::read(file)?;
        let sha256 = digest(&bytes);
        let name = file.file_name().context("a file name")?;
        let file = Arc::new(File {
            name: name.to_string_lossy().into_owned(),
            bytes,
            sha256: sha256.clone(),
            pause,
        });
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let file = file.clone();
                // A client that goes away is what this hub is for.
                thread::spawn(move || drop(serve(&file, &connection)));
            }
        });
        Ok(Self { url, sha256 })
    }
}

/// SHA-256 in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn serve(file: &File, connection: &TcpStream) -> Result<()> {
    let mut lines = BufReader::new(connection).lines();
    loop {
        let Some(request) = lines.next().transpose()? else {
            return Ok(());
        };
        let mut range = None;
        for header in lines.by_ref() {
            let header = header?.to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(bytes) = header.strip_prefix("range: bytes=") {
                range = bytes.split('-').next().and_then(|from| from.parse().ok());
            }
        }
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        answer(file, connection, method, path, range)?;
    }
}

fn answer(
    file: &File,
    mut out: &TcpStream,
    method: &str,
    path: &str,
    range: Option<usize>,
) -> Result<()> {
    let (name, size) = (&file.name, file.bytes.len());
    if path.starts_with(&format!("/api/models/{REPOSITORY}/tree/")) {
        let lfs = json!({ "oid": file.sha256, "size": size });
        let entry = json!({ "type": "file", "path": name, "size": size, "lfs": lfs });
        return Ok(out.write_all(&page(&json!([entry]).to_string()))?);
    }
    if path.starts_with(&format!("/api/models/{REPOSITORY}")) {
        let lfs = json!({ "sha256": file.sha256, "size": size });
        let entry = json!({ "rfilename": name, "size": size, "lfs": lfs });
        let repository = json!({ "id": REPOSITORY, "sha": COMMIT, "siblings": [entry] });
        return Ok(out.write_all(&page(&repository.to_string()))?);
    }
    let is_file = ["main", COMMIT].iter().any(|revision| {
        path.starts_with(&format!("/{REPOSITORY}/resolve/{revision}/{}", file.name))
    });
    if !is_file {
        out.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")?;
        return Ok(());
    }
    let from = range.unwrap_or(0).min(file.bytes.len());
    let rest = &file.bytes[from..];
    let status = match range {
        Some(_) => format!(
            "206 Partial Content\r\ncontent-range: bytes {from}-{}/{}",
            file.bytes.len().saturating_sub(1),
            file.bytes.len()
        ),
        None => "200 OK".to_owned(),
    };
    write!(
        out,
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\netag: \"{}\"\r\naccept-ranges: bytes\r\n\r\n",
        rest.len(),
        file.sha256
    )?;
    if method == "GET" {
        for part in rest.chunks(64 << 10) {
            out.write_all(part)?;
            thread::sleep(file.pause);
        }
    }
    Ok(())
}

fn page(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
