//! The stream protocol by which adverts are asked for: one framed query, one framed reply. Who
//! may ask, and what becomes of the adverts, is not known here.

use std::{io, time::Duration};

use bytes::BytesMut;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::{
    StreamProtocol,
    request_response::{self, ProtocolSupport},
};
use protocol::{
    advert::{AdvertQuery, AdvertReply},
    frame::{Decoder, Frame, encode_end, encode_message},
    generate::Bounded,
    names::{Protocol, SwarmName},
};

/// Bytes read at a time.
const CHUNK_BYTES: usize = 8 << 10;

/// A reply is ready at once; the rest is the path.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Queries and replies in flight on one connection: an honest peer asks now and then.
const MAX_STREAMS: usize = 8;

/// The behaviour that asks and answers.
pub(super) type Asking = request_response::Behaviour<Codec>;

/// A behaviour for one swarm.
pub(super) fn asking(swarm: &SwarmName) -> Asking {
    let protocol = StreamProtocol::try_from_owned(Protocol::Adverts.of(swarm))
        .expect("protocol names begin with a slash");
    let config = request_response::Config::default()
        .with_request_timeout(TIMEOUT)
        .with_max_concurrent_streams(MAX_STREAMS);
    Asking::new([(protocol, ProtocolSupport::Full)], config)
}

/// Frames around the two messages.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Codec;

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = AdvertQuery;
    type Response = AdvertReply;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<AdvertQuery>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<AdvertReply>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io).await
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        query: AdvertQuery,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, &query).await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        reply: AdvertReply,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, &reply).await
    }
}

/// One message and the END behind it: a stream that was cut is no shorter reply.
async fn read<M: Bounded, T: AsyncRead + Unpin>(io: &mut T) -> io::Result<M> {
    let mut decoder = Decoder::new(M::MAX_BYTES);
    let mut buffer = BytesMut::new();
    let mut chunk = [0; CHUNK_BYTES];
    let mut message = None;
    loop {
        match decoder.decode(&mut buffer).map_err(invalid)? {
            Some(Frame::Data(bytes)) if message.is_none() => {
                message = Some(M::decode_bounded(&bytes).map_err(invalid)?);
            }
            Some(Frame::Data(_)) => return Err(invalid("a second message")),
            Some(Frame::End) => return message.ok_or_else(|| invalid("no message")),
            None => {
                let read = io.read(&mut chunk).await?;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                buffer.extend_from_slice(&chunk[..read]);
            }
        }
    }
}

async fn write<M: Bounded, T: AsyncWrite + Unpin>(io: &mut T, message: &M) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    encode_message(message, M::MAX_BYTES, &mut buffer).map_err(invalid)?;
    encode_end(&mut buffer);
    io.write_all(&buffer).await
}

fn invalid(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, cause)
}

#[cfg(test)]
mod tests {
    use futures::{executor::block_on, io::Cursor};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_comes_whole_or_not_at_all() {
        let query = AdvertQuery {
            node_ids: vec![vec![7; 32]; 3],
        };
        let mut bytes = Cursor::new(Vec::new());
        block_on(write(&mut bytes, &query)).unwrap();
        let bytes = bytes.into_inner();
        for length in 0..bytes.len() {
            let cut = block_on(read::<AdvertQuery, _>(&mut Cursor::new(&bytes[..length])));
            assert!(cut.is_err(), "{length} of {} bytes", bytes.len());
        }
        let read = block_on(read::<AdvertQuery, _>(&mut Cursor::new(&bytes)));
        assert_eq!(read.unwrap(), query);
    }

    #[test]
    fn two_messages_are_none() {
        let query = AdvertQuery::default();
        let mut bytes = BytesMut::new();
        for _ in 0..2 {
            encode_message(&query, 100, &mut bytes).unwrap();
        }
        encode_end(&mut bytes);
        let read = block_on(read::<AdvertQuery, _>(&mut Cursor::new(&bytes)));
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    proptest! {
        #[test]
        fn garbage_is_an_error(bytes: Vec<u8>) {
            let read = block_on(read::<AdvertReply, _>(&mut Cursor::new(&bytes)));
            prop_assert!(read.is_err() || bytes.len() >= 10);
        }
    }
}
