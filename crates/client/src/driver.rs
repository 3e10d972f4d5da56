//! The task of one client: dials, reads, writes and sleeps as the session says. It decides
//! nothing.
//!
//! While the session wants one, there is a second connection ([`Second`]) beside the present one, which may
//! become the present one. What a connection that is left has to say is written by a task of its own.

use crate::connector::Connector;
use crate::session::{Beside, Dial, Flow};
use crate::shared::Shared;
use std::future::Future;
use std::io;
use std::pin::Pin;
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
                        serve(&shared, &connector, stream).await.err()
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

/// A stream, and what is to be written to it.
struct Wire<S> {
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    output: Vec<u8>,
    unflushed: bool,
}

impl<S: AsyncRead + AsyncWrite> Wire<S> {
    fn new(stream: S) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self { reader, writer, output: Vec::new(), unflushed: false }
    }

    fn has_output(&self) -> bool {
        self.unflushed || !self.output.is_empty()
    }

    fn written(&mut self, written: usize) {
        self.unflushed = written > 0;
        self.output.drain(..written);
    }
}

/// The connection beside the present one.
enum Second<'a, S> {
    None,
    Opening(Pin<Box<dyn Future<Output = io::Result<S>> + Send + 'a>>),
    Open(Wire<S>),
}

/// What came of it.
enum Step<S> {
    Opened(io::Result<S>),
    Wrote(io::Result<usize>),
    Read(io::Result<usize>),
}

impl<S: AsyncRead + AsyncWrite> Second<'_, S> {
    /// Goes on with it; never ends where there is none. Dropping the future loses nothing.
    async fn step(&mut self, input: &mut [u8]) -> Step<S> {
        match self {
            Self::None => std::future::pending().await,
            Self::Opening(opening) => Step::Opened(opening.await),
            Self::Open(wire) => {
                let writes = wire.has_output();
                tokio::select! {
                    biased;
                    written = write_or_flush(&mut wire.writer, &wire.output), if writes => Step::Wrote(written),
                    read = wire.reader.read(input) => Step::Read(read),
                }
            }
        }
    }

    /// Takes over what [`Second::step`] said.
    fn stepped(&mut self, step: Step<S>, input: &[u8], shared: &Shared) {
        let failed = match step {
            Step::Opened(Ok(stream)) => {
                *self = Self::Open(Wire::new(stream));
                return shared.with(|locked, now_ms| locked.session.beside_connected(now_ms));
            }
            Step::Wrote(Ok(written)) => {
                if let Self::Open(wire) = self {
                    wire.written(written);
                }
                return;
            }
            Step::Read(Ok(read)) if read > 0 => {
                return shared.with(|locked, now_ms| locked.session.beside_bytes(&input[..read], now_ms));
            }
            Step::Read(Ok(_)) => io::Error::new(io::ErrorKind::UnexpectedEof, "the other side closed it"),
            Step::Opened(Err(error)) | Step::Wrote(Err(error)) | Step::Read(Err(error)) => error,
        };
        *self = Self::None;
        shared.with(|locked, now_ms| locked.session.beside_failed(&failed, now_ms));
    }
}

/// Says the last words on a connection that is left, beside everything else.
fn part<S: AsyncRead + AsyncWrite + Send + 'static>(wire: Wire<S>) {
    tokio::spawn(async move {
        let Wire { mut reader, mut writer, output, .. } = wire;
        let mut input = vec![0; READ_BYTES];
        let _late = timeout(CLOSING_MAX, finish(&mut reader, &mut writer, &output, &mut input)).await;
    });
}

/// Moves bytes until the connection is over: `Ok` where the session ended it.
async fn serve<C: Connector>(shared: &Shared, connector: &C, stream: C::Stream) -> io::Result<()> {
    let mut wire = Wire::new(stream);
    let mut second: Second<'_, C::Stream> = Second::None;
    let (mut input, mut second_input) = (vec![0; READ_BYTES], Vec::new());
    let mut sleep = std::pin::pin!(sleep_until(Instant::now() + IDLE_MAX));
    loop {
        let mut bytes = Vec::new();
        let beside = shared.with(|locked, now_ms| {
            locked.session.handle_timeout(now_ms);
            locked.session.poll_beside(now_ms, &mut bytes)
        });
        second_input.resize(if beside == Beside::None { 0 } else { READ_BYTES }, 0);
        arrange(beside, &bytes, &mut wire, &mut second, connector);
        let (flow, deadline) = shared.with(|locked, now_ms| {
            let flow = locked.session.poll_output(now_ms, &mut wire.output);
            (flow, locked.session.next_deadline_ms())
        });
        if flow == Flow::Close {
            let Wire { mut reader, mut writer, output, .. } = wire;
            let _late = timeout(CLOSING_MAX, finish(&mut reader, &mut writer, &output, &mut input)).await;
            return Ok(());
        }
        let wake_at = wake_at(shared, deadline);
        if sleep.deadline() != wake_at {
            sleep.as_mut().reset(wake_at);
        }
        let writes = wire.has_output();
        tokio::select! {
            biased;
            written = write_or_flush(&mut wire.writer, &wire.output), if writes => match written {
                Ok(written) => wire.written(written),
                Err(error) => {
                    let _late = timeout(CLOSING_MAX, last_words(shared, &mut wire.reader, &mut input)).await;
                    return Err(error);
                }
            },
            read = wire.reader.read(&mut input) => match read? {
                0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the other side closed it")),
                read => shared.with(|locked, now_ms| locked.session.handle_bytes(&input[..read], now_ms)),
            },
            step = second.step(&mut second_input) => second.stepped(step, &second_input, shared),
            () = shared.work.notified() => {}
            () = &mut sleep => {}
        }
    }
}

/// Does to the second connection what the session says, and to the present one where it is left.
fn arrange<'a, C: Connector>(
    beside: Beside,
    bytes: &[u8],
    wire: &mut Wire<C::Stream>,
    second: &mut Second<'a, C::Stream>,
    connector: &'a C,
) {
    match beside {
        Beside::None => *second = Second::None,
        Beside::Dial(server) => {
            *second = Second::Opening(Box::pin(async move { connector.connect(&server).await }));
        }
        Beside::Dialing => {}
        Beside::Open => {
            if let Second::Open(wire) = second {
                wire.output.extend_from_slice(bytes);
            }
        }
        Beside::Close => {
            if let Second::Open(mut left) = std::mem::replace(second, Second::None) {
                left.output.extend_from_slice(bytes);
                part(left);
            }
        }
        Beside::Moved => {
            if let Second::Open(next) = std::mem::replace(second, Second::None) {
                let mut left = std::mem::replace(wire, next);
                left.output.extend_from_slice(bytes);
                part(left);
            }
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
