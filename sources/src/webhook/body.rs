//! A body, read only so far and so long.

use bytes::Buf;
use futures_util::{Stream, StreamExt};
use std::{pin::pin, time::Duration};
use tokio::time::timeout;

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the body takes too long")]
    TooSlow,
    #[error("the body ended early")]
    Broken,
}

/// After a body that is too large this much of it is still taken in, for this long: a client that sends first and reads then gets to see
/// the answer.
const LINGER: Duration = Duration::from_secs(1);

/// The whole body. Reading stops at the limit, whatever was announced, and when time is up.
pub async fn read_body<D: Buf, E>(body: impl Stream<Item = Result<D, E>>, limit: usize, time: Duration) -> Result<Vec<u8>, BodyError> {
    let mut body = pin!(body);
    let mut bytes = Vec::new();
    let whole = async {
        while let Some(chunk) = body.next().await {
            let mut chunk = chunk.map_err(|_| BodyError::Broken)?;
            if chunk.remaining() > limit - bytes.len() {
                return Err(BodyError::TooLarge(limit));
            }
            while chunk.has_remaining() {
                let part = chunk.chunk();
                bytes.extend_from_slice(part);
                let read = part.len();
                chunk.advance(read);
            }
        }
        Ok(())
    };
    let read = timeout(time, whole).await.unwrap_or(Err(BodyError::TooSlow));
    if let Err(BodyError::TooLarge(_)) = read {
        let rest = async {
            let mut more = 0;
            while let Some(Ok(chunk)) = body.next().await {
                more += chunk.remaining();
                if more > limit {
                    break;
                }
            }
        };
        // Either way the answer is the same.
        let _ = timeout(LINGER, rest).await;
    }
    read.map(|()| bytes)
}
