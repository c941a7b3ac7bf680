use std::os::unix::fs::MetadataExt;

use axum::routing::{get, post};
use serde_json::json;

use super::*;

fn echo() -> Router {
    Router::new()
        .route("/text", get(async || "# HELP\n"))
        .route("/slow", get(std::future::pending::<()>))
        .route("/conflict", post(async || ApiError::conflict("taken")))
        .route("/echo", post(async |body: axum::Json<Value>| body))
}

/// Serves `echo` on a socket in `dir`; the returned sender stops it.
fn start(dir: &Path) -> (Client, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    let path = dir.join("sub/x.sock");
    let (listener, file) = bind(&path).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(async move {
        let _file = file;
        serve(listener, echo(), async {
            let _ = stopped.await;
        })
        .await
        .unwrap();
    });
    (Client::new(Endpoint::Unix(path)), stop, server)
}

#[tokio::test]
async fn requests_and_errors_cross_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let (client, stop, server) = start(dir.path());
    let body = json!({"a": [1, 2]});
    assert_eq!(client.post("/echo", &body).await.unwrap(), body);
    assert_eq!(client.get_text("/text").await.unwrap(), "# HELP\n");

    let refused = async |result: Result<Value, ClientError>| match result {
        Err(ClientError::Refused { status, message }) => (status, message),
        other => panic!("{other:?}"),
    };
    let conflict = refused(client.post("/conflict", &body).await).await;
    assert_eq!(conflict, (409, "taken".into()));
    assert_eq!(refused(client.get("/nothing").await).await.0, 404);
    assert_eq!(refused(client.delete("/echo").await).await.0, 405);

    let socket = dir.path().join("sub/x.sock");
    assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o777, 0o660);
    stop.send(()).unwrap();
    server.await.unwrap();
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_hanging_request_does_not_hold_up_the_stop() {
    let dir = tempfile::tempdir().unwrap();
    let (client, stop, server) = start(dir.path());
    let hanging = tokio::spawn(async move { client.get("/slow").await });
    // The server has taken the connection once another one, made after it, is answered.
    let second = Client::new(Endpoint::Unix(dir.path().join("sub/x.sock")));
    second.get_text("/text").await.unwrap();
    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(10), server)
        .await
        .unwrap()
        .unwrap();
    hanging.abort();
}

#[tokio::test]
async fn a_dead_socket_is_replaced_and_a_live_one_or_a_file_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let (_listener, _file) = bind(&path).unwrap();
    assert!(matches!(bind(&path), Err(BindError::InUse(_))));

    let plain = dir.path().join("plain");
    fs::write(&plain, "precious").unwrap();
    assert!(matches!(bind(&plain), Err(BindError::NoSocket(_))));
    assert_eq!(fs::read_to_string(&plain).unwrap(), "precious");
}
