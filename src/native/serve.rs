//! Serving: the databases, the threads of partitions and gateways, the socket that accepts, and what signals ask for.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::{Extension, Router};
use futures_util::future::join_all;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{Sender, UnboundedReceiver, UnboundedSender, channel, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::database::Database;
use super::descriptors::{self, Descriptors};
use super::env::Settings;
use super::gateway::{self, GatewayThread, Message, Partitions};
use super::linger::Lingering;
use super::partition::{self, PartitionThread, Way};
use super::server::{Context, Peer};
use super::{Failed, log, place, server, tls};
use crate::gateway::Config;
use crate::log::Level;
use crate::message::{GatewayId, PartitionId};
use crate::seam::Input;

/// How long a client may take to agree on TLS, and to say what it wants.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a connection may ask over HTTP, and be answered, before it has to come anew.
const HTTP_LIFETIME: Duration = Duration::from_secs(30);
/// How long the end may take, whatever is queued.
const GOOD_BYE: Duration = Duration::from_secs(10);
/// How much of it the store has to answer; what it has not answered by then is not acknowledged.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// How much of it connections have after that to take what is on its way to them.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// How long nothing is accepted when the system has no room for another socket.
const BREATH: Duration = Duration::from_secs(1);
/// Threads that read.
const READERS: usize = 8;

/// A connection on its way to its gateway, its place among those that are open, and what it agrees on TLS by, if it
/// is to.
type Dealt = (std::net::TcpStream, SocketAddr, OwnedSemaphorePermit, Option<TlsAcceptor>);

/// Settings that may change while the relay runs.
type Current = Arc<RwLock<Arc<Config>>>;

/// Serves until a signal ends it; on SIGHUP `reload` reads the settings again.
pub fn serve(settings: &Settings, reload: impl Fn() -> Result<Settings, Vec<String>>) -> Result<(), Failed> {
    let tls = tls::acceptor(settings)?;
    let files_max = descriptors::raise()?;
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
    place::check_all(settings)?;
    let readers = cores.min(READERS).div_ceil(settings.config.partitions as usize);
    let databases = settings.paths().map(|path| Database::open(&path, readers)).collect::<Result<Vec<_>, _>>()?;
    let current: Current = Arc::new(RwLock::new(Arc::new(settings.config.clone())));
    let (gateways, inboxes): (Vec<GatewayThread>, Vec<_>) = (0..settings.gateways).map(|_| gateway::way()).unzip();
    let gateways: Arc<[GatewayThread]> = gateways.into();
    let (ways, here) = start_partitions(&settings.config, &gateways, &databases)?;
    let (mut deals, mut threads): (Vec<UnboundedSender<Dealt>>, Vec<JoinHandle<()>>) = Default::default();
    for (own, (inbox, n)) in gateways.iter().zip(inboxes.into_iter().zip(0..)) {
        let (deal, dealt) = unbounded_channel();
        let (alive, mut gone) = channel(1);
        let context = Context {
            gateway: own.clone(),
            config: current.clone(),
            proxies: settings.proxies.clone(),
            silence: settings.silence,
            alive: alive.downgrade(),
        };
        let (config, own) = (settings.config.clone(), own.clone());
        let partitions = match &here {
            Threads::Partitions(threads) => Partitions::Far(threads.clone()),
            Threads::Gateway(database) => Partitions::Here(database.clone()),
        };
        let of = gateways.len();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let work = move || {
            runtime.block_on(async move {
                tokio::spawn(accept(dealt, context, alive));
                gateway::run(config, (GatewayId(n), of), own, partitions, inbox).await;
                // Nobody sends here: it ends with the last connection.
                let _ = timeout(LAST_WORDS, gone.recv()).await;
            });
        };
        deals.push(deal);
        threads.push(thread::Builder::new().name(format!("gateway {n}")).spawn(work)?);
    }
    let ended = Builder::new_current_thread().enable_all().build()?.block_on(async {
        let ended = listen(settings, tls, files_max, &deals, &current, (&gateways, &ways), reload).await;
        end_in_time();
        drop(deals);
        // What clients have said is stored before they are told good-bye.
        ask_all(&gateways, Message::Close).await;
        let leaving = ways.iter().map(|partition| {
            let (left, has_left) = oneshot::channel();
            partition.leave(left, LAST_ANSWERS);
            timeout(GOOD_BYE, has_left)
        });
        join_all(leaving).await;
        ask_all(&gateways, Message::Leave).await;
        ended
    });
    for thread in threads {
        // One that panicked has ended the process.
        let _ = thread.join();
    }
    drop((gateways, ways, here));
    databases.into_iter().for_each(Database::close);
    log::say(Level::Info, "ended", &[]);
    ended
}

/// Which threads run partitions.
enum Threads {
    /// Their own.
    Partitions(Arc<[PartitionThread]>),
    /// That of the only gateway, with the only database.
    Gateway(Database),
}

/// Starts the threads of partitions, unless the only one is on that of the only gateway.
fn start_partitions(
    config: &Config,
    gateways: &Arc<[GatewayThread]>,
    databases: &[Database],
) -> Result<(Vec<Way>, Threads), Failed> {
    if let ([gateway], [database]) = (&**gateways, databases) {
        return Ok((vec![Way::Gateway(gateway.clone())], Threads::Gateway(database.clone())));
    }
    let mut threads = Vec::new();
    for (database, n) in databases.iter().zip(0..) {
        let (way, inbox) = partition::way();
        threads.push(way.clone());
        let (config, gateways, database) = (config.clone(), gateways.clone(), database.clone());
        let work = move || partition::run(&config, PartitionId(n), &way, &inbox, gateways, database);
        thread::Builder::new().name(format!("partition {n}")).spawn(work)?;
    }
    let ways = threads.iter().cloned().map(Way::Thread).collect();
    Ok((ways, Threads::Partitions(threads.into())))
}

/// Tells all gateways something, and waits until each has done it.
async fn ask_all(gateways: &[GatewayThread], message: impl Fn(oneshot::Sender<()>) -> Message) {
    let done = gateways.iter().map(|gateway| {
        let (done, is_done) = oneshot::channel();
        gateway.tell(message(done));
        timeout(GOOD_BYE, is_done)
    });
    join_all(done).await;
}

/// Ends the process when the time to end is over, whatever is queued, or at once at a second signal. What was
/// acknowledged is in the file by then.
fn end_in_time() {
    let watch = || -> Result<&str, std::io::Error> {
        Builder::new_current_thread().enable_all().build()?.block_on(async {
            let [mut terminate, mut interrupt] = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
            Ok(tokio::select! {
                _ = terminate.recv() => "a second signal",
                _ = interrupt.recv() => "a second signal",
                () = tokio::time::sleep(GOOD_BYE) => "the time to end is over",
            })
        })
    };
    thread::spawn(move || {
        let why = watch().unwrap_or("no signals can be heard");
        log::say(Level::Warn, "ended before all was done", &[("why", why.to_owned())]);
        std::process::exit(1);
    });
}

/// Deals connections to the gateways until a signal ends it.
async fn listen(
    settings: &Settings,
    mut tls: Option<TlsAcceptor>,
    files_max: u64,
    deals: &[UnboundedSender<Dealt>],
    current: &Current,
    (gateways, partitions): (&[GatewayThread], &[Way]),
    reload: impl Fn() -> Result<Settings, Vec<String>>,
) -> Result<(), Failed> {
    let bind = settings.bind;
    let taken = |error| format!("{bind}: {error}; server.bind (BIND) says where to listen");
    let listener = TcpListener::bind(bind).await.map_err(taken)?;
    let bind = listener.local_addr()?;
    let [mut terminate, mut interrupt, mut hang_up] =
        [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?];
    let mut descriptors = Descriptors::left(files_max)?;
    let fields = [
        ("address", bind.to_string()),
        ("connections_max", descriptors.connections_max.to_string()),
        ("gateways", settings.gateways.to_string()),
        ("partitions", settings.config.partitions.to_string()),
        ("storage", settings.path.display().to_string()),
    ];
    log::say(Level::Info, "listening", &fields);
    let mut dealt = 0;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let Some(place) = descriptors.take() else {
                        descriptors.refuse(stream, tls.is_some());
                        continue;
                    };
                    let Ok(stream) = ready(stream) else { continue };
                    dealt += 1;
                    let limited = current.read().map_or(true, |config| config.quotas.is_some());
                    // Whoever is behind one address is counted by one gateway, so that its limits are exact; all that
                    // comes through a proxy has one address.
                    let proxied = settings.proxies.as_ref().is_some_and(|proxies| proxies.trust(peer.ip()));
                    let n = if limited && !proxied { hash(peer) } else { dealt };
                    if let Some(deal) = deals.get(n % deals.len().max(1)) {
                        let _ = deal.send((stream, peer, place, tls.clone()));
                    }
                }
                Err(error) => {
                    log::say(Level::Warn, "a connection could not be accepted", &[("error", error.to_string())]);
                    tokio::time::sleep(BREATH).await;
                }
            },
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hang_up.recv() => match again(&reload, settings.config.partitions) {
                Ok((settings, acceptor)) => {
                    tls = acceptor;
                    if let Ok(mut config) = current.write() {
                        *config = Arc::new(settings.config.clone());
                    }
                    partitions.iter().for_each(|partition| partition.configure(settings.config.clone()));
                    for gateway in gateways {
                        let config = Box::new(settings.config.clone());
                        gateway.tell(Message::Input(Input::Configured { config }));
                    }
                    log::say(Level::Info, "settings were read again", &[]);
                }
                Err(wrong) => log::say(Level::Error, "settings stay as they are", &[("error", wrong)]),
            },
        }
    }
}

/// The settings of now, with the files they name; or what is wrong with them. Partitions are as many as there are.
fn again(
    reload: &impl Fn() -> Result<Settings, Vec<String>>,
    partitions: u32,
) -> Result<(Settings, Option<TlsAcceptor>), String> {
    let mut settings = reload().map_err(|wrong| wrong.join("; "))?;
    settings.config.partitions = partitions;
    let acceptor = tls::acceptor(&settings).map_err(|error| error.to_string())?;
    Ok((settings, acceptor))
}

/// A socket that another thread's event loop can take over.
fn ready(stream: TcpStream) -> std::io::Result<std::net::TcpStream> {
    stream.set_nodelay(true)?;
    stream.into_std()
}

fn hash(peer: SocketAddr) -> usize {
    let mut hasher = DefaultHasher::new();
    crate::gateway::network(&peer.ip().to_string()).hash(&mut hasher);
    hasher.finish() as usize
}

/// Serves the connections that a gateway is dealt; `_alive` is held until there are no more.
async fn accept(mut dealt: UnboundedReceiver<Dealt>, context: Context, _alive: Sender<()>) {
    let router = Router::new().fallback(server::answer).with_state(context);
    while let Some((stream, peer, place, tls)) = dealt.recv().await {
        let Ok(stream) = TcpStream::from_std(stream) else { continue };
        let stream = Lingering::new(stream, place);
        let router = router.clone().layer(Extension(Peer(peer)));
        tokio::spawn(async move {
            match tls {
                None => http(stream, router).await,
                Some(tls) => {
                    if let Ok(Ok(stream)) = timeout(HANDSHAKE, tls.accept(stream)).await {
                        http(stream, router).await;
                    }
                }
            }
        });
    }
}

async fn http(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HANDSHAKE);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection.with_upgrades());
    // What goes wrong here is the client's. A WebSocket is somebody else's when it is one.
    if timeout(HTTP_LIFETIME, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(HANDSHAKE, connection).await;
    }
}
