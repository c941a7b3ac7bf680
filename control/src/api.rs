//! The HTTP API: JSON over HTTP/1.1 on a Unix socket, and on TCP where configured.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/node` | name, version, pid, uptime and readiness |
//! | `GET /v1/snapshot` | everything below at one moment |
//! | `GET /v1/{sessions,clients,neighbors,ports,workers,drops,pools}` | one part of it |
//! | `GET /v1/workers/stages` | what each stage of the workers' loops takes, after a second of counting |
//! | `GET /v1/events` | the last 256 events |
//! | `GET /v1/sessions/{id}` | one session |
//! | `POST /v1/sessions` | adds a session: the keys of the config file |
//! | `DELETE /v1/sessions/{id}` | removes it |
//! | `GET`, `POST /v1/sessions/{id}/clients` | lists its clients, adds one |
//! | `DELETE /v1/sessions/{id}/clients/{name}` | removes one |
//! | `PUT`, `DELETE /v1/ports/{name}/impairment` | sets or clears what a lab does to a link |
//! | `POST /v1/reload` | makes the node match its config file |
//! | `GET /metrics` | Prometheus metrics |
//!
//! Errors are `{"error": "…", …}` with 400 (it can't be understood), 404 (no such thing), 409 (it contradicts what there
//! is) or 503 (the node can't do it now).

mod client;
mod routes;

pub use client::{Client, ClientError, Endpoint, EndpointError};
pub(crate) use routes::router;

use std::fs;
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};
use tokio::net::UnixListener;
use tokio::sync::oneshot;

/// How long requests under way may take to finish once the server stops.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// What a request is answered with when it is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status.
    pub status: StatusCode,
    /// One sentence for people.
    pub message: String,
    /// Further keys of the answer, for programs.
    pub details: Map<String, Value>,
}

impl ApiError {
    /// 400: the request can't be understood.
    pub fn bad_request(message: impl ToString) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, message)
    }

    /// 404: what it names does not exist.
    pub fn not_found(message: impl ToString) -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, message)
    }

    /// 409: it contradicts what there is.
    pub fn conflict(message: impl ToString) -> ApiError {
        ApiError::new(StatusCode::CONFLICT, message)
    }

    /// 503: it can't be done now.
    pub fn unavailable(message: impl ToString) -> ApiError {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    fn new(status: StatusCode, message: impl ToString) -> ApiError {
        ApiError {
            status,
            message: message.to_string(),
            details: Map::new(),
        }
    }

    /// The same with a further key in the answer.
    #[must_use]
    pub fn with(mut self, key: &str, value: Value) -> ApiError {
        self.details.insert(key.to_owned(), value);
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = self.details;
        body.insert("error".to_owned(), Value::String(self.message));
        (self.status, axum::Json(body)).into_response()
    }
}

/// Why a socket can't be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody answers there already.
    #[error(
        "{} is in use: another process answers there; stop it, or give this one another socket", .0.display()
    )]
    InUse(PathBuf),
    /// There is a file that is no socket.
    #[error("{} exists and is no socket: remove it, or choose another path", .0.display())]
    NoSocket(PathBuf),
    /// The system refuses.
    #[error("cannot listen on {}: {source}", path.display())]
    System {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A Unix socket that is listened on; its file goes when this does.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// Listens on a Unix socket, for owner and group, making its folder if need be and replacing a socket that a dead
/// process left. Needs a tokio runtime.
pub fn bind(path: &Path) -> Result<(UnixListener, SocketFile), BindError> {
    let system = |source| BindError::System {
        path: path.to_owned(),
        source,
    };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(system)?;
    }
    remove_stale(path)?;
    let listener = UnixListener::bind(path).map_err(system)?;
    let file = SocketFile(path.to_owned());
    fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(system)?;
    Ok((listener, file))
}

/// Removes a socket that nobody listens on.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    let system = |source| BindError::System {
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system(error)),
        Ok(file) if !file.file_type().is_socket() => {
            return Err(BindError::NoSocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(system)
        }
        Err(error) => Err(system(error)),
        Ok(_) => Err(BindError::InUse(path.to_owned())),
    }
}

/// Serves `router` on `listener` until `stop` is ready, and then lets requests under way finish for a second.
pub async fn serve<L>(
    listener: L,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()>
where
    L: axum::serve::Listener,
    L::Addr: std::fmt::Debug,
{
    let router = router
        .fallback(async || ApiError::not_found("there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            ApiError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "this path does not take this method",
            )
        });
    let (stopping, stopped) = oneshot::channel();
    let server = axum::serve(listener, router).with_graceful_shutdown(async move {
        stop.await;
        // The receiver is gone only if the server has ended.
        let _ = stopping.send(());
    });
    let overtime = async {
        if stopped.await.is_ok() {
            tokio::time::sleep(STOP_GRACE).await;
        }
    };
    tokio::select! {
        served = server => served,
        () = overtime => Ok(()),
    }
}

#[cfg(test)]
mod tests;
