//! The node daemon: `treecast node`.

mod events;
mod kernel;
mod links;
mod reload;
mod running;

pub(crate) use running::Node;

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dataplane::StartError;
use sd_notify::NotifyState;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing_subscriber::EnvFilter;

use crate::api::{self, BindError, SocketFile};
use crate::cli::{self, Failure};
use crate::config::{self, ApiConfig, Config};
use links::LinkWatch;

/// How often the dataplane is asked for events: soon enough for a log, too seldom to be seen in `top`.
const EVENT_INTERVAL: Duration = Duration::from_millis(200);

/// Run a node: open its ports, forward, repair, serve its API.
///
/// Stays in the foreground, logs to stderr (RUST_LOG sets the level), tells systemd when it is ready. SIGHUP reloads the
/// configuration file; SIGTERM and SIGINT stop the node. Exit status: 0 stopped; 1 it could not start; 2 wrong
/// configuration.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node's configuration file, in TOML.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Be killed when the process that started this one ends.
    #[arg(long, hide = true)]
    die_with_parent: bool,
}

/// Why a node did not run.
#[derive(Debug, thiserror::Error)]
enum NodeError {
    #[error("cannot prepare to run: {0}")]
    Runtime(#[from] io::Error),
    #[error(transparent)]
    Socket(#[from] BindError),
    #[error("cannot listen on {address}, as api.listen asks: {source}")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("cannot start the dataplane: {0}")]
    Start(#[from] StartError),
    #[error(transparent)]
    Kernel(#[from] kernel::KernelError),
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), Failure> {
    if args.die_with_parent {
        cli::die_with_parent()?;
    }
    let failure = |status, message| Failure {
        status,
        message,
        json: false,
    };
    let config = config::load(&args.config).map_err(|errors| {
        let problems = errors.render(io::stderr().is_terminal());
        let file = args.config.display();
        failure(2, format!("{file} can't be used\n{problems}"))
    })?;
    log_to_stderr();
    run_node(config, args.config).map_err(|error| failure(1, error.to_string()))
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
}

fn run_node(config: Config, file: PathBuf) -> Result<(), NodeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let node = runtime.block_on(serve_until_stopped(config, file))?;
    // Ends the tasks of connections that are still open: each holds the node.
    drop(runtime);
    if let Some(node) = Arc::into_inner(node) {
        node.stop();
    }
    tracing::info!("stopped");
    Ok(())
}

async fn serve_until_stopped(config: Config, file: PathBuf) -> Result<Arc<Node>, NodeError> {
    let mut signals = Signals::new()?;
    let listeners = Listeners::bind(&config.api).await?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let ports = config.node.ports.clone();
    let node = Arc::new(Node::start(config, file)?);
    for port in &ports {
        kernel::configure(port).await?;
    }
    let api = listeners.serve(&node);
    tracing::info!("node {} runs", node.identity().name);
    notify(&[NotifyState::Ready]);

    let mut events = tokio::time::interval(EVENT_INTERVAL);
    let mut links = LinkWatch::new(node.has_interfaces_only());
    loop {
        tokio::select! {
            _ = events.tick() => node.take_events(),
            () = links.changed() => node.follow_links(),
            _ = signals.reload.recv() => reload(&node).await,
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
        }
    }
    tracing::info!("stopping");
    notify(&[NotifyState::Stopping]);
    api.stop().await;
    node.take_events();
    Ok(node)
}

/// Reloads on a signal: what comes of it goes to the log.
async fn reload(node: &Arc<Node>) {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!("cannot tell systemd of the reload: {error}"),
    }
    // `Node::reload` logs both ends.
    let _ = Node::change(node, Node::reload).await;
    notify(&[NotifyState::Ready]);
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("cannot tell systemd {state:?}: {error}");
    }
}

/// The signals that the daemon heeds.
struct Signals {
    reload: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals {
            reload: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

/// The API's sockets, before it is served.
struct Listeners {
    unix: UnixListener,
    file: SocketFile,
    tcp: Option<TcpListener>,
}

impl Listeners {
    async fn bind(config: &ApiConfig) -> Result<Listeners, NodeError> {
        let (unix, file) = api::bind(&config.socket)?;
        tracing::info!("API at {}", config.socket.display());
        let tcp = match config.listen {
            None => None,
            Some(address) => {
                let listen = |source| NodeError::Listen { address, source };
                let listener = TcpListener::bind(address).await.map_err(listen)?;
                tracing::info!("API at http://{address}");
                Some(listener)
            }
        };
        Ok(Listeners { unix, file, tcp })
    }

    fn serve(self, node: &Arc<Node>) -> Serving {
        let (stop, stopped) = watch::channel(());
        let until = |mut stopped: watch::Receiver<()>| async move {
            // Changes once, or its sender is gone: both mean stop.
            let _ = stopped.changed().await;
        };
        let mut servers = JoinSet::new();
        let router = api::router(Arc::clone(node));
        if let Some(tcp) = self.tcp {
            servers.spawn(api::serve(tcp, router.clone(), until(stopped.clone())));
        }
        servers.spawn(api::serve(self.unix, router, until(stopped)));
        Serving {
            servers,
            stop,
            file: self.file,
        }
    }
}

/// The API while it is served.
struct Serving {
    servers: JoinSet<io::Result<()>>,
    stop: watch::Sender<()>,
    file: SocketFile,
}

impl Serving {
    /// Ends the service; requests under way have a second.
    async fn stop(mut self) {
        // The file goes first: later it might be that of the next daemon, which replaces a socket that nobody serves.
        drop(self.file);
        drop(self.stop);
        while let Some(ended) = self.servers.join_next().await {
            if let Ok(Err(error)) = ended {
                tracing::warn!("the API ended with: {error}");
            }
        }
    }
}
