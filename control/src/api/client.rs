//! The client side of the API.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// Where nodes put their sockets unless told otherwise.
const SOCKET_DIR: &str = "/run/treecast";

/// How long connecting may take: the other end is on this machine or near it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long an answer may take: a reload with many sessions is the slowest.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Where an API is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP port.
    Tcp(SocketAddr),
}

/// Why there is no endpoint to talk to.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// It is not written as one.
    #[error("`{0}` is no address of an API: write /PATH/OF/SOCKET or http://ADDRESS:PORT")]
    Malformed(String),
    /// No node runs here.
    #[error(
        "no node runs here: there is no socket in {}; name one with --api", .0.display()
    )]
    None(PathBuf),
    /// More than one does.
    #[error("several nodes run here; choose one with --api: {}", list(.0))]
    Several(Vec<PathBuf>),
}

fn list(paths: &[PathBuf]) -> String {
    let names: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    names.join(", ")
}

impl Endpoint {
    /// The only node that runs on this machine.
    pub fn discover() -> Result<Endpoint, EndpointError> {
        Endpoint::only_socket_in(Path::new(SOCKET_DIR))
    }

    fn only_socket_in(dir: &Path) -> Result<Endpoint, EndpointError> {
        let mut sockets: Vec<PathBuf> = std::fs::read_dir(dir)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "sock")
            })
            .filter(|path| answers(path))
            .collect();
        sockets.sort();
        match sockets.len() {
            0 => Err(EndpointError::None(dir.to_owned())),
            1 => Ok(Endpoint::Unix(sockets.remove(0))),
            _ => Err(EndpointError::Several(sockets)),
        }
    }
}

/// Whether somebody listens there; a socket that may not be connected to counts, since the error says why.
fn answers(path: &Path) -> bool {
    !matches!(
        std::os::unix::net::UnixStream::connect(path),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused
    )
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Endpoint, EndpointError> {
        let malformed = || EndpointError::Malformed(text.to_owned());
        if let Some(address) = text.strip_prefix("http://") {
            let address = address.trim_end_matches('/');
            return address.parse().map(Endpoint::Tcp).map_err(|_| malformed());
        }
        if text.is_empty() || text.contains("://") {
            return Err(malformed());
        }
        Ok(Endpoint::Unix(PathBuf::from(text)))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Unix(path) => write!(f, "{}", path.display()),
            Endpoint::Tcp(address) => write!(f, "http://{address}"),
        }
    }
}

/// Why a request had no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is there.
    #[error("no node answers at {endpoint}: is `treecast node` running? ({source})")]
    NoAnswer {
        /// Where.
        endpoint: Endpoint,
        /// Why.
        source: io::Error,
    },
    /// Somebody is there, but says nothing.
    #[error("{endpoint} took longer than {} s to answer", .after.as_secs())]
    Timeout {
        /// Where.
        endpoint: Endpoint,
        /// How long was waited.
        after: Duration,
    },
    /// The answer breaks off, or is not what this API says.
    #[error("{endpoint} gave no answer of a treecast API: {reason}")]
    Protocol {
        /// Where.
        endpoint: Endpoint,
        /// What is wrong.
        reason: String,
    },
    /// The request was refused.
    #[error("{message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The answer's `error`.
        message: String,
    },
}

impl ClientError {
    /// Whether it is that nobody answered, rather than what was answered.
    #[must_use]
    pub fn is_no_answer(&self) -> bool {
        !matches!(self, ClientError::Refused { .. })
    }
}

/// A client of one API. Each request has its own connection.
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: Endpoint,
}

impl Client {
    /// A client of the API at `endpoint`; nothing is connected yet.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Client {
        Client { endpoint }
    }

    /// `GET`s a path.
    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.json(Method::GET, path, None).await
    }

    /// `POST`s a body to a path.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.json(Method::POST, path, Some(body)).await
    }

    /// `PUT`s a body to a path.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.json(Method::PUT, path, Some(body)).await
    }

    /// `DELETE`s a path.
    pub async fn delete(&self, path: &str) -> Result<Value, ClientError> {
        self.json(Method::DELETE, path, None).await
    }

    /// `GET`s a path whose answer is text, such as `/metrics`.
    pub async fn get_text(&self, path: &str) -> Result<String, ClientError> {
        let body = self.request(Method::GET, path, None).await?;
        String::from_utf8(body.into()).map_err(|error| self.protocol(error))
    }

    async fn json(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ClientError> {
        let body = self.request(method, path, body).await?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|error| self.protocol(error))
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Bytes, ClientError> {
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "treecast")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.protocol(error))?;
        let (status, body) = match &self.endpoint {
            Endpoint::Unix(path) => self.exchange(UnixStream::connect(path), request).await?,
            Endpoint::Tcp(address) => self.exchange(TcpStream::connect(address), request).await?,
        };
        if status.is_success() {
            return Ok(body);
        }
        let message = serde_json::from_slice::<Value>(&body)
            .ok()
            .and_then(|body| Some(body.get("error")?.as_str()?.to_owned()));
        Err(ClientError::Refused {
            status: status.as_u16(),
            message: message.unwrap_or_else(|| format!("{} answered {status}", self.endpoint)),
        })
    }

    async fn exchange<S>(
        &self,
        connect: impl Future<Output = io::Result<S>>,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = self
            .within(CONNECT_TIMEOUT, connect)
            .await?
            .map_err(|source| ClientError::NoAnswer {
                endpoint: self.endpoint.clone(),
                source,
            })?;
        self.within(ANSWER_TIMEOUT, send(stream, request))
            .await?
            .map_err(|error| self.protocol(error))
    }

    async fn within<T>(
        &self,
        after: Duration,
        future: impl Future<Output = T>,
    ) -> Result<T, ClientError> {
        timeout(after, future)
            .await
            .map_err(|_| ClientError::Timeout {
                endpoint: self.endpoint.clone(),
                after,
            })
    }

    fn protocol(&self, reason: impl ToString) -> ClientError {
        ClientError::Protocol {
            endpoint: self.endpoint.clone(),
            reason: reason.to_string(),
        }
    }
}

async fn send<S>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // An error of the connection is the error of the request as well.
    let connection = tokio::spawn(connection);
    let exchanged = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }
    .await;
    connection.abort();
    exchanged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_path_or_a_url() {
        let unix: Endpoint = "/run/treecast/core.sock".parse().unwrap();
        assert_eq!(unix, Endpoint::Unix("/run/treecast/core.sock".into()));
        let tcp: Endpoint = "http://127.0.0.1:7450/".parse().unwrap();
        assert_eq!(tcp.to_string(), "http://127.0.0.1:7450");
        for wrong in ["", "http://core", "https://127.0.0.1:1"] {
            assert!(wrong.parse::<Endpoint>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_only_live_socket_is_found_and_several_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let listen =
            |name: &str| std::os::unix::net::UnixListener::bind(dir.path().join(name)).unwrap();
        assert!(matches!(
            Endpoint::only_socket_in(dir.path()),
            Err(EndpointError::None(_))
        ));
        drop(listen("dead.sock"));
        let _a = listen("a.sock");
        assert_eq!(
            Endpoint::only_socket_in(dir.path()).unwrap(),
            Endpoint::Unix(dir.path().join("a.sock"))
        );
        let _b = listen("b.sock");
        let error = Endpoint::only_socket_in(dir.path())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("a.sock") && error.contains("b.sock"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_missing_node_is_told_apart_from_a_refusal() {
        let client = Client::new(Endpoint::Unix("/nonexistent/core.sock".into()));
        let error = client.get("/v1/node").await.unwrap_err();
        assert!(error.is_no_answer());
        assert!(
            error
                .to_string()
                .contains("/nonexistent/core.sock: is `treecast node` running?")
        );
    }
}
