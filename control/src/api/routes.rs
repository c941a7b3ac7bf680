//! A node's routes.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use overlay::SessionId;
use serde::Serialize;
use serde_json::{Value, json};

use super::ApiError;
use crate::metrics;
use crate::node::Node;

type Shared = State<Arc<Node>>;
type Answer = Result<Json<Value>, ApiError>;

/// The routes of a node's API.
pub(crate) fn router(node: Arc<Node>) -> Router {
    Router::new()
        .route("/metrics", get(metrics_text))
        .route("/v1/node", get(info))
        .route("/v1/snapshot", get(snapshot))
        .route("/v1/neighbors", get(neighbors))
        .route("/v1/ports", get(ports))
        .route("/v1/workers", get(workers))
        .route("/v1/workers/stages", get(stages))
        .route("/v1/drops", get(drops))
        .route("/v1/pools", get(pools))
        .route("/v1/events", get(events))
        .route("/v1/clients", get(clients))
        .route("/v1/sessions", get(sessions).post(add_session))
        .route("/v1/sessions/{id}", get(session).delete(remove_session))
        .route(
            "/v1/sessions/{id}/clients",
            get(session_clients).post(add_client),
        )
        .route("/v1/sessions/{id}/clients/{name}", delete(remove_client))
        .route(
            "/v1/ports/{name}/impairment",
            put(set_impairment).delete(clear_impairment),
        )
        .route("/v1/reload", post(reload))
        .with_state(node)
}

async fn metrics_text(State(node): Shared) -> Result<Response, ApiError> {
    let text = metrics::render(node.identity(), &node.snapshot())
        .map_err(|error| ApiError::unavailable(format!("cannot write metrics: {error}")))?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

async fn info(State(node): Shared) -> Json<Value> {
    Json(node.info())
}

async fn snapshot(State(node): Shared) -> impl IntoResponse {
    Json(node.snapshot())
}

async fn neighbors(State(node): Shared) -> impl IntoResponse {
    Json(node.snapshot().neighbors)
}

async fn ports(State(node): Shared) -> impl IntoResponse {
    Json(node.snapshot().ports)
}

async fn workers(State(node): Shared) -> impl IntoResponse {
    Json(node.snapshot().workers)
}

async fn stages(State(node): Shared) -> Result<Response, ApiError> {
    let stages = Node::change(&node, Node::stages).await?;
    Ok(Json(stages).into_response())
}

async fn drops(State(node): Shared) -> impl IntoResponse {
    Json(node.snapshot().drops)
}

async fn pools(State(node): Shared) -> impl IntoResponse {
    Json(node.snapshot().pools)
}

async fn events(State(node): Shared) -> impl IntoResponse {
    Json(node.events())
}

async fn sessions(State(node): Shared) -> impl IntoResponse {
    Json(node.snapshot().sessions)
}

/// One client of any session.
#[derive(Serialize)]
struct ClientOfSession {
    session: u32,
    name: String,
    #[serde(flatten)]
    client: dataplane::ClientSnapshot,
}

async fn clients(State(node): Shared) -> impl IntoResponse {
    let sessions = node.snapshot().sessions.into_iter();
    let clients = sessions.flat_map(|session| {
        let (number, name) = (session.session, session.name);
        session
            .clients
            .into_iter()
            .map(move |client| ClientOfSession {
                session: number,
                name: name.clone(),
                client,
            })
    });
    Json(clients.collect::<Vec<_>>())
}

async fn session(State(node): Shared, Path(id): Path<String>) -> Result<Response, ApiError> {
    Ok(Json(session_snapshot(&node, &id)?).into_response())
}

async fn session_clients(
    State(node): Shared,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    Ok(Json(session_snapshot(&node, &id)?.clients).into_response())
}

async fn add_session(
    State(node): Shared,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let body = read_json(&body)?;
    let id = Node::change(&node, move |node| node.add_session(&body)).await?;
    Ok((StatusCode::CREATED, Json(json!({ "session": id.0 }))))
}

async fn remove_session(State(node): Shared, Path(id): Path<String>) -> Answer {
    let id = session_id(&id)?;
    Node::change(&node, move |node| node.remove_session(id)).await?;
    Ok(Json(json!({ "session": id.0 })))
}

async fn add_client(
    State(node): Shared,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let id = session_id(&id)?;
    let body = read_json(&body)?;
    let name = Node::change(&node, move |node| node.add_client(id, &body)).await?;
    let answer = json!({ "session": id.0, "client": name });
    Ok((StatusCode::CREATED, Json(answer)))
}

async fn remove_client(State(node): Shared, Path((id, name)): Path<(String, String)>) -> Answer {
    let id = session_id(&id)?;
    let answer = json!({ "session": id.0, "client": name });
    Node::change(&node, move |node| node.remove_client(id, &name)).await?;
    Ok(Json(answer))
}

async fn set_impairment(State(node): Shared, Path(port): Path<String>, body: Bytes) -> Answer {
    let (body, answer) = (read_json(&body)?, json!({ "port": port }));
    Node::change(&node, move |node| node.set_impairment(&port, Some(&body))).await?;
    Ok(Json(answer))
}

async fn clear_impairment(State(node): Shared, Path(port): Path<String>) -> Answer {
    let answer = json!({ "port": port });
    Node::change(&node, move |node| node.set_impairment(&port, None)).await?;
    Ok(Json(answer))
}

async fn reload(State(node): Shared) -> Answer {
    Node::change(&node, Node::reload).await.map(Json)
}

fn session_snapshot(node: &Node, id: &str) -> Result<dataplane::SessionSnapshot, ApiError> {
    let id = session_id(id)?;
    let sessions = node.snapshot().sessions.into_iter();
    let mut found = sessions.filter(|session| session.session == id.0);
    found
        .next()
        .ok_or_else(|| ApiError::not_found(format!("there is no session {}", id.0)))
}

fn session_id(text: &str) -> Result<SessionId, ApiError> {
    text.parse().map(SessionId).map_err(|_| {
        ApiError::bad_request(format!(
            "`{text}` is no session's number (1 to {})",
            u32::MAX
        ))
    })
}

fn read_json(body: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request(format!("the body is not JSON: {error}")))
}
