//! File descriptors. Connections take what the process may open, but for a reserve: the database, the log, and
//! what is opened when settings are read again keep theirs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::linger::Lingering;
use super::{Failed, log};
use crate::log::Level;

/// Descriptors that no connection takes, and how many of them connections have that are told that there is no room.
const RESERVED: usize = 64;
const REFUSALS: usize = 32;
/// What is open at most before there are connections, where that cannot be counted.
const USUAL: usize = 128;
/// How often it is told that there is no room.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// What raises the limit.
const MEND: &str = "raise the hard limit (ulimit -Hn; LimitNOFILE of a systemd unit) and start it again";
/// What a client is told for which there is no room.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 84\r\n\
    Retry-After: 10\r\nConnection: close\r\n\r\n\
    {\"error\":\"the relay has no room for another connection; come again in some seconds\"}";

/// Raises how many files the process may open to what it is allowed to raise it to; answers that.
pub fn raise() -> Result<u64, Failed> {
    rlimit::increase_nofile_limit(u64::MAX).map_err(|error| format!("raising the limit of open files: {error}").into())
}

/// What is left for connections.
pub struct Descriptors {
    /// Connections that may be open at once.
    pub connections_max: usize,
    places: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    told: Option<Instant>,
}

impl Descriptors {
    /// What is left of `files_max` when everything else is open.
    pub fn left(files_max: u64) -> Result<Self, Failed> {
        let open = std::fs::read_dir("/dev/fd").map_or(USUAL, |list| list.count());
        let max = usize::try_from(files_max).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let connections_max = max.saturating_sub(open + RESERVED);
        if connections_max == 0 {
            let needed = open + RESERVED + 1;
            return Err(format!("{files_max} files may be open at once, and {needed} are needed: {MEND}").into());
        }
        let places = |count| Arc::new(Semaphore::new(count));
        Ok(Self { connections_max, places: places(connections_max), refusals: places(REFUSALS), told: None })
    }

    /// The place of another connection; none when there is no room.
    pub fn take(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }

    /// Tells a client that there is no room, unless it has yet to agree on TLS or too many are being told.
    pub fn refuse(&mut self, stream: TcpStream, tls: bool) {
        if self.told.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            self.told = Some(Instant::now());
            let fields = [("connections_max", self.connections_max.to_string()), ("mend", MEND.to_owned())];
            log::say(Level::Warn, "connections are refused: no file descriptors are left for them", &fields);
        }
        if let (false, Ok(place)) = (tls, self.refusals.clone().try_acquire_owned()) {
            tokio::spawn(async move {
                // A new socket takes this at once.
                if stream.writable().await.is_ok() {
                    let _ = stream.try_write(FULL);
                }
                drop(Lingering::new(stream, place));
            });
        }
    }
}
