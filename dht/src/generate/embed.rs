//! Embeddings over the same road: one request, heartbeats, one answer.

use futures::{AsyncRead, AsyncWrite, FutureExt, StreamExt};
use protocol::{
    frame::FrameError,
    generate::{
        EmbedOrder, EmbedReply, EmbedRequest, EmbedResponse, Failure, ReplyOrder,
        embed_reply::Reply,
    },
};

use super::{
    call::Call,
    error::{CallError, ServeError, Violation},
    room::RequestRoom,
    serve::{receive, respond},
};

/// Why there are no embeddings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbedError {
    /// The request is over its limit; nothing was sent.
    #[error("the request is too large")]
    TooLarge(#[source] FrameError),
    /// The peer refused it, or failed.
    #[error(transparent)]
    Failed(Failure),
    /// The answer broke off.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Asks a peer, on a new stream. Dropping the future cancels.
///
/// # Errors
/// Every [`EmbedError`]. Another number of embeddings than of inputs, or values that are no
/// finite numbers, are a violation.
pub async fn embed<IO>(io: IO, request: &EmbedRequest) -> Result<EmbedResponse, EmbedError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut call = Call::<_, EmbedOrder>::new(io, request).map_err(EmbedError::TooLarge)?;
    while let Some(reply) = call.next().await {
        match reply?.reply {
            Some(Reply::Response(response)) => return fitting(response, request),
            Some(Reply::Failed(failure)) => return Err(EmbedError::Failed(failure)),
            Some(Reply::Queued(_)) | None => {}
        }
    }
    Err(EmbedError::Call(CallError::Cut))
}

/// Answers one `EmbedRequest`, as [`serve_generate`](super::serve_generate) does its own.
///
/// # Errors
/// [`ServeError`], as there.
pub async fn serve_embed<IO, F, A>(
    mut io: IO,
    room: &RequestRoom,
    answer: F,
) -> Result<(), ServeError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
    F: FnOnce(EmbedRequest) -> A,
    A: Future<Output = Result<EmbedResponse, Failure>>,
{
    let received = receive::<EmbedRequest, _>(&mut io, room).await?;
    let answer = async {
        let request = received?;
        request.validate()?;
        answer(request).await
    };
    let reply = answer.map(|answer| match answer {
        Ok(response) => EmbedReply {
            reply: Some(Reply::Response(response)),
        },
        Err(failure) => EmbedOrder::failed(failure),
    });
    respond::<EmbedOrder, _, _>(&mut io, reply.into_stream()).await
}

fn fitting(response: EmbedResponse, request: &EmbedRequest) -> Result<EmbedResponse, EmbedError> {
    let all = &response.embeddings;
    let are_numbers = all.iter().flat_map(|e| &e.values).all(|v| v.is_finite());
    if all.len() == request.inputs.len() && are_numbers {
        return Ok(response);
    }
    let violation = CallError::Violation(Violation::Embeddings);
    Err(EmbedError::Call(violation))
}
