//! The task of one client: dials, reads, writes and sleeps as the session says. It decides
//! nothing.

use crate::connector::Connector;
use crate::session::{Dial, Flow};
use crate::shared::Shared;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep_until, timeout};

/// Bytes taken from the socket at once.
const READ_BYTES: usize = 16 * 1024;

/// How long the last bytes of a connection may take, and what still comes meanwhile.
const CLOSING_MAX: Duration = Duration::from_secs(1);

/// Bytes read and thrown away behind our BYE, so that unread input does not turn the end into
/// a reset that overtakes it.
const DISCARDED_BYTES_MAX: usize = 64 * 1024;

/// Sleep of a session without a deadline; a command ends it.
const IDLE_MAX: Duration = Duration::from_secs(3600);

/// Runs a client until it is closed.
pub(crate) async fn run(shared: Arc<Shared>, connector: impl Connector) {
    let _finish = Finish(Arc::clone(&shared));
    loop {
        match shared.with(|locked, now_ms| locked.session.poll_dial(now_ms)) {
            Dial::Never => return,
            Dial::Wait => pause(&shared).await,
            Dial::Now(server) => {
                let Some(opened) = dial(&shared, &connector, &server).await else { continue };
                let error = match opened {
                    Ok(stream) => {
                        shared.with(|locked, now_ms| locked.session.connected(now_ms));
                        serve(&shared, stream).await.err()
                    }
                    Err(error) => Some(error),
                };
                shared.with(|locked, now_ms| locked.session.disconnected(error.as_ref(), now_ms));
            }
        }
    }
}

/// Tells the session when the task ends, be it because its runtime does.
struct Finish(Arc<Shared>);

impl Drop for Finish {
    fn drop(&mut self) {
        self.0.with(|locked, _| locked.session.finish());
    }
}

/// Opens a connection; `None` where the session has stopped wanting it.
async fn dial<C: Connector>(shared: &Shared, connector: &C, server: &str) -> Option<io::Result<C::Stream>> {
    let mut opening = std::pin::pin!(connector.connect(server));
    while shared.with(|locked, _| locked.session.is_dialing()) {
        tokio::select! {
            biased;
            opened = &mut opening => return Some(opened),
            () = pause(shared) => {}
        }
    }
    None
}

/// Sleeps until a command comes or a deadline is over, and does what is due then.
async fn pause(shared: &Shared) {
    let deadline = shared.with(|locked, _| locked.session.next_deadline_ms());
    tokio::select! {
        biased;
        () = shared.work.notified() => {}
        () = sleep_until(wake_at(shared, deadline)) => {}
    }
    shared.with(|locked, now_ms| locked.session.handle_timeout(now_ms));
}

/// Moves bytes until the connection is over: `Ok` where the session ended it.
async fn serve<S: AsyncRead + AsyncWrite>(shared: &Shared, stream: S) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut input = vec![0; READ_BYTES];
    let mut output = Vec::new();
    let mut unflushed = false;
    let mut sleep = std::pin::pin!(sleep_until(Instant::now() + IDLE_MAX));
    loop {
        let (flow, deadline) = shared.with(|locked, now_ms| {
            locked.session.handle_timeout(now_ms);
            let flow = locked.session.poll_output(now_ms, &mut output);
            (flow, locked.session.next_deadline_ms())
        });
        if flow == Flow::Close {
            let _late = timeout(CLOSING_MAX, finish(&mut reader, &mut writer, &output, &mut input)).await;
            return Ok(());
        }
        let wake_at = wake_at(shared, deadline);
        if sleep.deadline() != wake_at {
            sleep.as_mut().reset(wake_at);
        }
        tokio::select! {
            biased;
            written = write_or_flush(&mut writer, &output), if unflushed || !output.is_empty() => match written {
                Ok(written) => {
                    unflushed = written > 0;
                    output.drain(..written);
                }
                Err(error) => {
                    let _late = timeout(CLOSING_MAX, last_words(shared, &mut reader, &mut input)).await;
                    return Err(error);
                }
            },
            read = reader.read(&mut input) => match read? {
                0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the other side closed it")),
                read => shared.with(|locked, now_ms| locked.session.handle_bytes(&input[..read], now_ms)),
            },
            () = shared.work.notified() => {}
            () = &mut sleep => {}
        }
    }
}

/// Writes part of `output` and returns how much, or flushes where there is nothing to write.
/// Dropping the future loses nothing.
async fn write_or_flush<W: AsyncWrite + Unpin>(writer: &mut W, output: &[u8]) -> io::Result<usize> {
    if output.is_empty() {
        return writer.flush().await.map(|()| 0);
    }
    match writer.write(output).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        written => Ok(written),
    }
}

/// Writes the rest, and reads until the other side is done.
async fn finish<S: AsyncRead + AsyncWrite>(
    reader: &mut ReadHalf<S>,
    writer: &mut WriteHalf<S>,
    output: &[u8],
    input: &mut [u8],
) -> io::Result<()> {
    writer.write_all(output).await?;
    writer.shutdown().await?;
    let mut discarded = 0;
    while discarded < DISCARDED_BYTES_MAX {
        match reader.read(input).await? {
            0 => break,
            read => discarded += read,
        }
    }
    Ok(())
}

/// Nothing can be written any more; a BYE that says why may still be readable.
async fn last_words<S: AsyncRead + AsyncWrite>(
    shared: &Shared,
    reader: &mut ReadHalf<S>,
    input: &mut [u8],
) -> io::Result<()> {
    loop {
        match reader.read(input).await? {
            0 => return Ok(()),
            read => shared.with(|locked, now_ms| locked.session.handle_bytes(&input[..read], now_ms)),
        }
    }
}

fn wake_at(shared: &Shared, deadline_ms: Option<u64>) -> Instant {
    deadline_ms.map_or_else(|| Instant::now() + IDLE_MAX, |deadline_ms| shared.instant(deadline_ms))
}
