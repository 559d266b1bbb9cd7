//! A hub and its storage on two ports of this machine, which behave as they are told: well, or
//! in every way that a bad line, a broken server or a hostile one can.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use sha2::Digest as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The commit that the hub names.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// How the storage answers one request for a file.
#[derive(Debug, Clone)]
pub(crate) enum Deed {
    /// Cut after so many bytes of the body.
    Cut(usize),
    /// Stop after so many bytes of the body and keep the connection.
    Stall(usize),
    /// One byte is another.
    WrongByte,
    /// A page in place of the file, of the file's length.
    Page,
    /// Says and sends another length.
    Length(usize),
    /// Says no length and sends more than the file has.
    Endless,
    /// Sends the whole file whatever was asked.
    IgnoreRange,
    /// 206 with a range that was not asked.
    OtherRange,
    /// Another status, with a header line.
    Status(u16, &'static str),
}

/// How the hub answers a listing.
#[derive(Debug, Clone, Default)]
pub(crate) enum ListingDeed {
    /// With sizes and digests in one answer.
    #[default]
    Blobs,
    /// Without sizes, so that the tree must be asked, in pages of this many files.
    Tree(usize),
    /// Not at all: the tree only.
    TreeOnly,
    /// A page that always has a next page.
    EndlessPages,
    /// A body without an end.
    EndlessBody,
    /// This body.
    Body(String),
    /// This status, so many times, then well.
    Status(u16, u32),
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) storage: bool,
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) if_range: Option<String>,
    pub(crate) token: Option<String>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) listing: ListingDeed,
    pub(crate) deeds: VecDeque<Deed>,
    pub(crate) always: Option<Deed>,
    pub(crate) seen: Vec<Seen>,
    /// Sizes and digests that the listing tells in place of the true ones.
    pub(crate) lies: BTreeMap<String, (u64, String)>,
    /// The hub redirects to itself for ever.
    pub(crate) redirects: bool,
    /// Files have this tag.
    pub(crate) etag: Option<&'static str>,
    /// Bytes of bodies that the storage has sent.
    pub(crate) sent: usize,
}

#[derive(Clone)]
pub(crate) struct FakeHub {
    pub(crate) address: SocketAddr,
    pub(crate) storage: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct Request {
    path: String,
    headers: BTreeMap<String, String>,
}

impl FakeHub {
    /// Serves `org/repo` with these files.
    pub(crate) async fn start(files: &[(&str, Vec<u8>)]) -> Self {
        let hub = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let storage = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let files = files
            .iter()
            .map(|(path, bytes)| ((*path).to_owned(), bytes.clone()));
        let state = State {
            files: files.collect(),
            ..State::default()
        };
        let this = Self {
            address: hub.local_addr().unwrap(),
            storage: storage.local_addr().unwrap(),
            state: Arc::new(Mutex::new(state)),
        };
        for (listener, is_storage) in [(hub, false), (storage, true)] {
            tokio::spawn(this.clone().serve(listener, is_storage));
        }
        this
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Requests that the storage saw.
    pub(crate) fn fetches(&self) -> Vec<Seen> {
        self.state()
            .seen
            .iter()
            .filter(|seen| seen.storage)
            .cloned()
            .collect()
    }

    pub(crate) fn endpoint(&self) -> reqwest::Url {
        reqwest::Url::parse(&format!("http://{}", self.address)).unwrap()
    }

    async fn serve(self, listener: TcpListener, storage: bool) {
        while let Ok((stream, _)) = listener.accept().await {
            let this = self.clone();
            tokio::spawn(async move {
                // A client that goes away ends its connection's task only.
                let _ = this.answer(stream, storage).await;
            });
        }
    }

    async fn answer(&self, mut stream: TcpStream, storage: bool) -> std::io::Result<()> {
        let request = read_request(&mut stream).await?;
        let header = |name: &str| request.headers.get(name).cloned();
        self.state().seen.push(Seen {
            storage,
            path: request.path.clone(),
            range: header("range"),
            if_range: header("if-range"),
            token: header("authorization"),
        });
        if storage {
            return self.answer_file(&mut stream, &request).await;
        }
        if request.path.starts_with("/api/") {
            return self.answer_listing(&mut stream, &request.path).await;
        }
        self.answer_resolve(&mut stream, &request.path).await
    }

    async fn answer_resolve(&self, stream: &mut TcpStream, path: &str) -> std::io::Result<()> {
        let wanted = [COMMIT, "main"]
            .iter()
            .find_map(|revision| path.strip_prefix(&format!("/org/repo/resolve/{revision}/")));
        let digest = wanted.and_then(|name| Some(digest(self.state().files.get(name)?)));
        let (Some(name), Some(digest)) = (wanted, digest) else {
            return send(stream, "404 Not Found", "", b"Entry not found").await;
        };
        let target = if self.state().redirects {
            path.to_owned()
        } else {
            format!("http://{}/{name}?signature=secret", self.storage)
        };
        let headers = format!("Location: {target}\r\nX-Linked-Etag: \"{digest}\"\r\n");
        send(stream, "302 Found", &headers, b"").await
    }

    async fn answer_listing(&self, stream: &mut TcpStream, path: &str) -> std::io::Result<()> {
        if !path.starts_with("/api/models/org/repo/") {
            return send(
                stream,
                "401 Unauthorized",
                "",
                b"{\"error\":\"Repository not found\"}",
            )
            .await;
        }
        let deed = self.next_listing_deed();
        let tree = path.contains("/tree/");
        match deed {
            ListingDeed::Status(status, _) => {
                send(stream, &format!("{status} X"), "Retry-After: 0\r\n", b"").await
            }
            ListingDeed::Body(body) => send(stream, "200 OK", "", body.as_bytes()).await,
            ListingDeed::EndlessBody => endless(stream, b"[").await,
            ListingDeed::EndlessPages if tree => {
                let next = format!("Link: <{}>; rel=\"next\"\r\n", path);
                send(stream, "200 OK", &next, b"[]").await
            }
            ListingDeed::TreeOnly if !tree => send(stream, "404 Not Found", "", b"").await,
            ListingDeed::Tree(page) if tree => self.send_tree(stream, path, page).await,
            ListingDeed::TreeOnly => self.send_tree(stream, path, 1000).await,
            ListingDeed::Blobs if tree => self.send_tree(stream, path, 1000).await,
            ListingDeed::Blobs => self.send_revision(stream, true).await,
            _ => self.send_revision(stream, false).await,
        }
    }

    fn next_listing_deed(&self) -> ListingDeed {
        let mut state = self.state();
        if let ListingDeed::Status(_, times) = &mut state.listing {
            if *times == 0 {
                state.listing = ListingDeed::Blobs;
            } else {
                *times -= 1;
            }
        }
        state.listing.clone()
    }

    fn told(&self) -> Vec<(String, u64, String)> {
        let state = self.state();
        let tell = |(path, bytes): (&String, &Vec<u8>)| {
            let truth = (bytes.len() as u64, digest(bytes));
            let (size, digest) = state.lies.get(path).cloned().unwrap_or(truth);
            (path.clone(), size, digest)
        };
        state.files.iter().map(tell).collect()
    }

    async fn send_revision(&self, stream: &mut TcpStream, blobs: bool) -> std::io::Result<()> {
        let sibling = |(path, size, digest): (String, u64, String)| {
            if blobs {
                serde_json::json!({"rfilename": path, "size": size, "lfs": {"sha256": digest, "size": size}})
            } else {
                serde_json::json!({"rfilename": path})
            }
        };
        let siblings: Vec<_> = self.told().into_iter().map(sibling).collect();
        let body = serde_json::json!({"id": "org/repo", "sha": COMMIT, "siblings": siblings});
        send(stream, "200 OK", "", body.to_string().as_bytes()).await
    }

    async fn send_tree(
        &self,
        stream: &mut TcpStream,
        path: &str,
        page: usize,
    ) -> std::io::Result<()> {
        let from = path
            .split("cursor=")
            .nth(1)
            .map_or(0, |at| at.parse().unwrap());
        let told = self.told();
        let entry = |(path, size, digest): &(String, u64, String)| {
            serde_json::json!({"type": "file", "path": path, "oid": "x", "size": size,
                "lfs": {"oid": digest, "size": size, "pointerSize": 134}})
        };
        let entries: Vec<_> = told.iter().skip(from).take(page).map(entry).collect();
        let next = if from + page < told.len() {
            let base = path.split("&cursor").next().unwrap();
            format!(
                "Link: <http://{}{base}&cursor={}>; rel=\"next\"\r\n",
                self.address,
                from + page
            )
        } else {
            String::new()
        };
        let body = serde_json::Value::from(entries).to_string();
        send(stream, "200 OK", &next, body.as_bytes()).await
    }

    async fn answer_file(&self, stream: &mut TcpStream, request: &Request) -> std::io::Result<()> {
        let name = request
            .path
            .trim_start_matches('/')
            .split('?')
            .next()
            .unwrap_or_default();
        let (bytes, deed, etag) = {
            let mut state = self.state();
            let probe = request
                .headers
                .get("range")
                .is_some_and(|range| range == "bytes=0-0");
            let deed = if probe { None } else { state.deeds.pop_front() };
            let always = state.always.clone().filter(|_| !probe);
            (state.files.get(name).cloned(), deed.or(always), state.etag)
        };
        let Some(bytes) = bytes else {
            return send(stream, "404 Not Found", "", b"").await;
        };
        let good = Good::new(request, bytes, etag);
        match deed {
            None => {
                let sent = send(stream, good.status, &good.headers, good.body()).await;
                self.count(sent, good.body().len())
            }
            Some(deed) => self.misbehave(stream, &good, deed).await,
        }
    }

    async fn misbehave(
        &self,
        stream: &mut TcpStream,
        good: &Good,
        deed: Deed,
    ) -> std::io::Result<()> {
        let (status, headers, body) = (good.status, good.headers.as_str(), good.body());
        let all = good.bytes.len();
        match deed {
            Deed::Cut(at) => self.part(stream, (status, headers), body, at).await,
            Deed::Stall(at) => {
                self.part(stream, (status, headers), body, at).await?;
                std::future::pending().await
            }
            Deed::WrongByte => {
                let mut wrong = body.to_vec();
                let middle = wrong.len() / 2;
                wrong[middle] ^= 1;
                send(stream, status, headers, &wrong).await
            }
            Deed::Page => send(stream, status, headers, &vec![b'<'; body.len()]).await,
            Deed::Length(length) => send(stream, "200 OK", "", &vec![b'G'; length]).await,
            Deed::Endless => endless(stream, body).await,
            Deed::IgnoreRange => {
                let sent = send(stream, "200 OK", &good.tag, &good.bytes).await;
                self.count(sent, all)
            }
            Deed::OtherRange => {
                let range = format!("Content-Range: bytes 1-{}/{all}\r\n", all - 1);
                send(stream, "206 Partial Content", &range, &good.bytes[1..]).await
            }
            Deed::Status(status, header) => {
                let end = if header.is_empty() { "" } else { "\r\n" };
                send(
                    stream,
                    &format!("{status} X"),
                    &format!("{header}{end}"),
                    b"",
                )
                .await
            }
        }
    }

    fn count(&self, sent: std::io::Result<()>, bytes: usize) -> std::io::Result<()> {
        self.state().sent += bytes;
        sent
    }

    /// Sends the head for the whole body, and of the body only the first `at` bytes.
    async fn part(
        &self,
        stream: &mut TcpStream,
        (status, headers): (&str, &str),
        body: &[u8],
        at: usize,
    ) -> std::io::Result<()> {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        let at = at.min(length);
        stream.write_all(&body[..at]).await?;
        stream.flush().await?;
        self.count(Ok(()), at)
    }
}

/// The answer that a good storage gives.
struct Good {
    status: &'static str,
    headers: String,
    tag: String,
    bytes: Vec<u8>,
    from: usize,
    to: usize,
}

impl Good {
    fn new(request: &Request, bytes: Vec<u8>, etag: Option<&str>) -> Self {
        let tag = etag.map_or_else(String::new, |etag| format!("ETag: {etag}\r\n"));
        let if_range = request.headers.get("if-range");
        let same = if_range.is_none_or(|tag| Some(tag.as_str()) == etag);
        let all = bytes.len();
        let Some(range) = request.headers.get("range").filter(|_| same) else {
            let (status, headers) = ("200 OK", tag.clone());
            return Self {
                status,
                headers,
                tag,
                bytes,
                from: 0,
                to: all,
            };
        };
        let (from, to) = parse_range(range, all);
        let last = to.max(1) - 1;
        let headers = format!("{tag}Content-Range: bytes {from}-{last}/{all}\r\n");
        let (status, from) = ("206 Partial Content", from.min(all));
        Self {
            status,
            headers,
            tag,
            bytes,
            from,
            to,
        }
    }

    fn body(&self) -> &[u8] {
        &self.bytes[self.from..self.to]
    }
}

async fn read_request(stream: &mut TcpStream) -> std::io::Result<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.lines();
    let path = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .unwrap_or_default()
        .to_owned();
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    Ok(Request {
        path,
        headers: lines.filter_map(header).collect(),
    })
}

async fn send(
    stream: &mut TcpStream,
    status: &str,
    headers: &str,
    body: &[u8],
) -> std::io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    stream.shutdown().await
}

/// Sends without a length until the client has had enough.
async fn endless(stream: &mut TcpStream, body: &[u8]) -> std::io::Result<()> {
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        .await?;
    stream.write_all(body).await?;
    let more = vec![b' '; 1 << 16];
    loop {
        stream.write_all(&more).await?;
    }
}

fn parse_range(range: &str, length: usize) -> (usize, usize) {
    let (from, to) = range.trim_start_matches("bytes=").split_once('-').unwrap();
    let to = to
        .parse()
        .map_or(length, |last: usize| (last + 1).min(length));
    (from.parse().unwrap(), to)
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    let digest: [u8; 32] = sha2::Sha256::digest(bytes).into();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
