//! Every bound on what a message may hold, with its reason.
//!
//! These are facts of the protocol: two peers that disagree on them cannot talk. What an owner
//! may choose (queue lengths, memory) belongs to the configuration of whoever enforces it.

use std::time::Duration;

mod demand;

pub use demand::*;

/// A `GenerateRequest` or `EmbedRequest` between peers: a million tokens of text are 4 MB. Decoding
/// makes at most about 16 bytes out of one (a repeated empty message), so 128 MiB at worst.
pub const MAX_REQUEST_BYTES: usize = 8 << 20;

/// A `GenerateEvent` between peers: one batch step's text, or a prompt's log-probabilities (about
/// 13,000 tokens with 20 alternatives). Decoding makes at most about 40 bytes out of one, so
/// 160 MiB at worst.
pub const MAX_EVENT_BYTES: usize = 4 << 20;

/// An `EmbedResponse` between peers, and the `EmbedReply` around it: [`MAX_EMBED_INPUTS`] vectors of 4096 dimensions.
pub const MAX_EMBED_RESPONSE_BYTES: usize = 36 << 20;

/// The largest payload that any frame may have: the largest message above.
pub const MAX_FRAME_BYTES: usize = MAX_EMBED_RESPONSE_BYTES;

/// How long a peer that answers a request may say nothing before it says that it is still at it.
pub const REPLY_HEARTBEAT: Duration = Duration::from_millis(1_250);

/// How long nothing may come from a peer that answers, no byte: of its heartbeats three may be late.
/// An answer whose peer is gone waits so long at most before another goes on with it.
pub const MAX_REPLY_SILENCE: Duration = Duration::from_millis(4 * 1_250);

/// The slowest uplink over which a long request is waited for, bytes a second: 2 Mbit/s.
pub const MIN_UPLINK_BYTES_PER_SECOND: usize = 256 << 10;

/// How long a peer may take to send its request: [`MAX_REQUEST_BYTES`] over the slowest uplink
/// take 32 s.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(40);

/// What an envelope adds to its payload: a key, a signature, two numbers, five field headers;
/// and room for fields that a later version adds.
pub const MAX_ENVELOPE_OVERHEAD_BYTES: usize = 256;

/// How far the clocks of two honest peers may be apart.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(60);

/// A request's id: it stands in every log line of the request's way. A UUID has 36.
pub const MAX_REQUEST_ID_BYTES: usize = 128;

/// A model's name: the hub allows 96 for `org/repo`, a file's path comes on top.
pub const MAX_MODEL_NAME_BYTES: usize = 256;

/// Chat messages in one request: far beyond any conversation that fits a context.
pub const MAX_MESSAGES: usize = 16_384;

/// Tools in one request: OpenAI's own bound.
pub const MAX_TOOLS: usize = 128;

/// A tool's name: OpenAI's own bound.
pub const MAX_TOOL_NAME_BYTES: usize = 64;

/// Text of the messages, of the raw prompt, or of both sides of an infill: what a request
/// between peers can carry beside everything else.
pub const MAX_PROMPT_BYTES: usize = 6 << 20;

/// Text of the tools' definitions: they are all rendered into the prompt.
pub const MAX_TOOLS_BYTES: usize = 1 << 20;

/// Text of further template variables: switches, not documents.
pub const MAX_TEMPLATE_KWARGS_BYTES: usize = 64 << 10;

/// Tokens of a prompt or of a resumed answer: the longest context of any open model is 1 Mi.
pub const MAX_TOKENS: usize = 1 << 20;

/// Bytes of text that one token stands for, at most: vocabularies stay below 1 KiB.
pub const MAX_TOKEN_TEXT_BYTES: u64 = 4096;

/// Stop strings in one request: each is looked for in every piece of text. OpenAI allows 4.
pub const MAX_STOP_STRINGS: usize = 16;

/// A stop string: text of that length is held back from the client.
pub const MAX_STOP_BYTES: usize = 256;

/// Biased tokens in one request: each is added to the logits at every token. OpenAI's clients
/// stay below 300.
pub const MAX_LOGIT_BIAS: usize = 1024;

/// The largest finite logit bias: OpenAI's own bound; 100 decides alone.
pub const MAX_LOGIT_BIAS_VALUE: f32 = 100.0;

/// Alternatives beside each chosen token: OpenAI's own bound.
pub const MAX_TOP_LOGPROBS: u32 = 20;

/// The highest temperature: OpenAI's own bound; above it the answer is noise.
pub const MAX_TEMPERATURE: f32 = 2.0;

/// The largest presence or frequency penalty, either sign: OpenAI's own bound.
pub const MAX_PENALTY: f32 = 2.0;

/// The largest repetition penalty: above it repeated tokens are as good as forbidden.
pub const MAX_REPEAT_PENALTY: f32 = 10.0;

/// A JSON Schema or a grammar: both are compiled before the first token.
pub const MAX_GRAMMAR_BYTES: usize = 256 << 10;

/// Inputs of one embedding request: OpenAI's own bound.
pub const MAX_EMBED_INPUTS: usize = 2048;

/// The widest embedding that can be asked for; models stay below 16,384.
pub const MAX_EMBED_DIMENSIONS: u32 = 65_536;

/// A failure's message: one line for a person.
pub const MAX_FAILURE_MESSAGE_BYTES: usize = 4096;

/// A swarm's name: it stands in the name of every protocol and topic.
pub const MAX_SWARM_NAME_BYTES: usize = 32;

/// An advert's encoding: with its envelope, the topic's name and what gossip adds it stays below
/// the 8 KiB of a gossip frame.
pub const MAX_ADVERT_BYTES: usize = 7 << 10;

/// How often a peer that nothing happens to says that it is there.
pub const ADVERT_HEARTBEAT: Duration = Duration::from_secs(120);

/// How long an advert holds: three heartbeats, so that two may be lost.
pub const ADVERT_LIFETIME: Duration = Duration::from_secs(3 * 120);

/// A software's version: `major.minor.patch`, a pre-release and a build.
pub const MAX_VERSION_BYTES: usize = 64;

/// Devices of one peer: the largest machines have 8 accelerators and two sockets.
pub const MAX_DEVICES: usize = 16;

/// A device's name, for people: drivers stay below 64.
pub const MAX_DEVICE_NAME_BYTES: usize = 64;

/// Memory of a device, and what an owner may allow: 1 PiB, beyond any machine, and sums of it
/// stay far from overflow.
pub const MAX_MEMORY_BYTES: u64 = 1 << 50;

/// Tokens or bytes a second, whatever is measured: beyond any machine, exact enough in 32 bits.
pub const MAX_RATE_PER_SECOND: f32 = 1e15;

/// Slices in an advert: the rest is found by provider records.
pub const MAX_ADVERT_SLICES: usize = 32;

/// A quantization's name, as `UD-IQ2_XXS`.
pub const MAX_QUANTIZATION_BYTES: usize = 32;

/// Layers of a model: the deepest open ones have 126.
pub const MAX_MODEL_LAYERS: u32 = 4096;

/// Deployments that one peer heads: each costs memory on several machines.
pub const MAX_ADVERT_DEPLOYMENTS: usize = 16;

/// Models that one peer is about to serve: it takes on one or two at a time.
pub const MAX_ADVERT_COMING: usize = 4;

/// Sessions that a deployment runs or holds in its queue.
pub const MAX_DEPLOYMENT_SESSIONS: u32 = 65_536;

/// Neighbours in an advert: a group's planner needs the nearest, not all.
pub const MAX_NEIGHBOURS: usize = 16;

/// The longest round-trip time that is said of a neighbour: above it the probe was lost.
pub const MAX_NEIGHBOUR_RTT: Duration = Duration::from_secs(2);

/// The farthest place and the greatest height of a network coordinate, milliseconds: beyond any
/// path on Earth.
pub const MAX_COORDINATE_MS: f32 = 2_000.0;

/// Addresses that a peer listens at: IPv4 and IPv6, QUIC and TCP, direct and by two relays.
pub const MAX_ADDRESSES: usize = 12;

/// An address as text: a relayed one names two peers, two addresses and certificates' hashes.
pub const MAX_ADDRESS_BYTES: usize = 256;

/// The largest swarm that anybody may claim: more than there are computers.
pub const MAX_SWARM_SIZE: u32 = 1 << 31;

/// Adverts that one query asks for: what a router wants to know of one model's providers.
pub const MAX_ADVERT_QUERY: usize = 64;

/// An `AdvertQuery`: [`MAX_ADVERT_QUERY`] ids of 34 bytes, and room for later fields.
pub const MAX_ADVERT_QUERY_BYTES: usize = 4 << 10;

/// An `AdvertReply`: [`MAX_ADVERT_QUERY`] envelopes of the longest adverts.
pub const MAX_ADVERT_REPLY_BYTES: usize = 512 << 10;

/// Keys that one model's providers are spread over: a record holds 20 providers, so the most
/// wanted model is found at 1,280 peers.
pub const MAX_PROVIDER_BUCKETS: u16 = 64;

/// A membership certificate: a swarm's name, two keys, a role and a time are 120 bytes; the rest
/// is room for fields of later versions.
pub const MAX_CERTIFICATE_BYTES: usize = 256;

/// How long a membership certificate may hold: a machine that nobody looks after for two years
/// asks again.
pub const MAX_CERTIFICATE_LIFETIME: Duration = Duration::from_secs(750 * 24 * 3600);

/// Bootstrap addresses in an invite: three nodes, each with IPv4 and IPv6 over QUIC and TCP, less
/// the unlikely ones. A join token must stay a line that can be pasted.
pub const MAX_INVITE_ADDRESSES: usize = 8;

/// An invite with every address at its limit, and room for fields of later versions.
pub const MAX_INVITE_BYTES: usize = 2304;

/// How long an invite may hold: it is a bearer's right, so not for ever.
pub const MAX_INVITE_LIFETIME: Duration = Duration::from_secs(366 * 24 * 3600);

/// Distinct peers that one invite admits: each is an entry that the redeeming node keeps.
pub const MAX_INVITE_USES: u32 = 1000;

/// Peers in one list of revocations. An entry may leave when the certificates before it have
/// expired, so these are the revocations of two years.
pub const MAX_REVOKED: usize = 1024;

/// A list of [`MAX_REVOKED`] entries of 47 bytes at most, and the swarm's name and root.
pub const MAX_REVOCATIONS_BYTES: usize = 48 << 10;

/// How long a list of revocations may hold: longer than any certificate that it revokes, for a
/// list that lapses lets everybody back in.
pub const MAX_REVOCATIONS_LIFETIME: Duration = Duration::from_secs(3660 * 24 * 3600);

/// A message of the admission stream: two certificates with their delegations, or an invite with
/// its.
pub const MAX_ADMISSION_BYTES: usize = 5 << 10;

/// Lists of revocations that count at one time: the root's, and those of a few delegates.
pub const MAX_REVOCATION_LISTS: usize = 17;

/// A `RevocationsRequest`: [`MAX_REVOCATION_LISTS`] heads of 82 bytes, and room for later fields.
pub const MAX_REVOCATIONS_REQUEST_BYTES: usize = 4 << 10;

/// A `RevocationsReply`: [`MAX_REVOCATION_LISTS`] of the longest lists with their envelopes and
/// delegations (50 KiB each), and as many heads.
pub const MAX_REVOCATIONS_REPLY_BYTES: usize = 864 << 10;

/// How often a head renews a lease.
pub const LEASE_RENEWAL: Duration = Duration::from_secs(10);

/// How long a lease holds without renewal: two may be lost, and a head that is gone holds nothing
/// for longer.
pub const LEASE_LIFETIME: Duration = Duration::from_secs(3 * 10);

/// How long a peer may take to answer a request for a lease: it looks into its own tables only.
/// Two tries fit between two renewals.
pub const LEASE_REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// A `LeaseRequest` or `LeaseReply`: the longest model's name or cause, and room for later fields.
pub const MAX_LEASE_BYTES: usize = 1 << 10;

/// Cells of a stage's KV cache: sixteen of the longest contexts. What a machine holds is far less.
pub const MAX_LEASE_CELLS: u32 = 16 << 20;

/// Sequences of one stage: llama.cpp's own bound.
pub const MAX_LEASE_SEQUENCES: u32 = 256;

/// Tokens of one batch of a stage: llama.cpp's own batch; of wide models fewer fit a frame.
pub const MAX_LEASE_BATCH_TOKENS: u32 = 2048;

/// What a stage says of itself for people: a line.
pub const MAX_LEASE_CAUSE_BYTES: usize = 256;

/// One token through the layers of a stage, seconds: a disk that swaps; slower is of no use.
pub const MAX_DECODE_SECONDS: f32 = 3600.0;

/// How many times slower than at its best a stage says to be: a millisecond that became a quarter
/// of an hour.
pub const MAX_SLOWNESS: f32 = 1e6;

/// The longest time after which a refused head is told to try again.
pub const MAX_LEASE_RETRY: Duration = Duration::from_secs(3600);

/// A stage's payload: hidden states of 512 tokens of 4096 f32, and 64 KiB for what is said of
/// them (parts, sampling orders). Longer batches go in several.
pub const MAX_STAGE_PAYLOAD_BYTES: usize = (8 << 20) + (64 << 10);

/// A whole stage frame: the longest payload and its header (4 bytes length, kind, channel).
pub const MAX_STAGE_FRAME_BYTES: usize = MAX_STAGE_PAYLOAD_BYTES + 13;

/// What a stage frame counts for at least, against the credit of its channel: each is an entry in
/// a queue, however short. It bounds the frames of a window to about 4,000.
pub const MIN_STAGE_FRAME_COST: u32 = 4 << 10;

/// Credit of a channel when it opens, and the most that it ever has: two of the longest frames, so
/// that one is on its way while one is worked on. Half of it is at least one frame, so whoever
/// grants at each half never leaves a sender without credit for its next frame.
pub const STAGE_WINDOW_BYTES: u32 = 2 * ((8 << 20) + (64 << 10) + 13);

/// Channels that are open on one stream between neighbours: each is a deployment's hop, and may
/// hold a window of memory at the receiver.
pub const MAX_STAGE_CHANNELS: usize = 64;

/// Files of one model: the largest open ones are split into some two hundred.
pub const MAX_MODEL_FILES: usize = 1024;

/// Bytes of all files of one model: 1 TiB, thrice the largest open one.
pub const MAX_MODEL_BYTES: u64 = 1 << 40;

/// The smallest chunk of a model's files: a page of the disk. Its hash is a 128th of it.
pub const MIN_CHUNK_BYTES: u64 = 4 << 10;

/// The largest chunk: it is held in memory until its hash is known, for each stream that is read.
pub const MAX_CHUNK_BYTES: u64 = 1 << 20;

/// Chunks that a model is cut into, before chunks are at their largest: a slice of a few ranges
/// that is a tenth of it is then rounded up by less than a hundredth.
pub const MAX_SMALL_CHUNKS: u64 = 4096;

/// Chunks of one model: [`MAX_MODEL_BYTES`] in the largest ones, and a short one of each file.
pub const MAX_MODEL_CHUNKS: u32 = (1 << 20) + 1024;

/// A model's manifest: a mark, lengths of [`MAX_MODEL_FILES`] files, [`MAX_MODEL_CHUNKS`] hashes.
pub const MAX_MANIFEST_BYTES: usize = 20 + 8 * MAX_MODEL_FILES + 32 * ((1 << 20) + 1024);

/// Bytes of a model's file that one request asks for. Streams to a peer are counted, so a fast
/// line needs few long ones.
pub const MAX_RANGE_BYTES: u64 = 64 << 20;

/// A `WeightsRequest`: an id and three numbers are 60 bytes, and room for later fields.
pub const MAX_WEIGHTS_REQUEST_BYTES: usize = 256;

/// Runs of chunks that a peer says it holds: a slice is a few, an expert shard one for each
/// tensor. Of more the longest are told.
pub const MAX_HELD_RUNS: usize = 4096;

/// A `WeightsReply`: [`MAX_HELD_RUNS`] pairs of numbers of up to 4 bytes, and room for later fields.
pub const MAX_WEIGHTS_REPLY_BYTES: usize = 34 << 10;

/// A frame of a model's bytes: short enough that a limited upload goes round many streams within
/// [`MAX_WEIGHTS_SILENCE`].
pub const MAX_WEIGHTS_FRAME_BYTES: usize = 16 << 10;

/// How long nothing may come of a model's bytes, or be taken of them: an upload that its owner
/// limits is slow, and there are no heartbeats.
pub const MAX_WEIGHTS_SILENCE: Duration = Duration::from_secs(30);

/// A board's name: it stands in the name of its topic.
pub const MAX_BOARD_NAME_BYTES: usize = 48;

/// What an author calls the agent that wrote a note: shown beside every note.
pub const MAX_AGENT_NAME_BYTES: usize = 48;

/// A note's text: a page. Longer ones are attachments.
pub const MAX_NOTE_BODY_BYTES: usize = 4096;

/// Attachments of one note: each is fetched by itself.
pub const MAX_ATTACHMENTS: usize = 4;

/// One attachment: it is held in memory until its hash is known.
pub const MAX_ATTACHMENT_BYTES: u32 = 256 << 10;

/// An attachment's name, for people.
pub const MAX_ATTACHMENT_NAME_BYTES: usize = 128;

/// What is signed of a note: the longest body, names and attachments are 5 KiB; the rest is room
/// for fields of later versions.
pub const MAX_SAYING_BYTES: usize = 6 << 10;

/// A note or withdrawal as it travels: with the topic's name and what gossip adds it stays below
/// the 8 KiB of a gossip frame.
pub const MAX_ENTRY_BYTES: usize = MAX_SAYING_BYTES + MAX_ENVELOPE_OVERHEAD_BYTES;

/// How long a note may hold after it was written: a board is no archive.
pub const MAX_NOTE_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long a note holds unless its author says otherwise.
pub const NOTE_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// How far in the future a note may be written: clocks of honest peers are apart by less.
pub const MAX_NOTE_AHEAD: Duration = Duration::from_secs(120);

/// How often one author may write: every peer that passes notes on holds authors to it.
pub const NOTE_INTERVAL: Duration = Duration::from_secs(10);

/// Notes that an author may write at once.
pub const NOTE_BURST: u32 = 5;

/// A message of set reconciliation: the ids of a thousand notes. What differs by more takes more
/// rounds, and neither side holds more than this of what the other says.
pub const MAX_ROUND_BYTES: usize = 32 << 10;

/// Ids of notes in one message: as many as a round holds.
pub const MAX_LISTED_NOTES: usize = 1024;

/// A message about a board: an attachment of the longest, or notes up to as much, and what is said
/// of them.
pub const MAX_BOARDS_MESSAGE_BYTES: usize = (256 << 10) + (4 << 10);
