//! The lab's own control socket, `lab.sock` in its folder: HTTP and JSON, as the nodes' API.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/lab` | nodes, hosts and sessions |
//! | `GET /v1/spaces/{name}` | how to enter the namespace of a router or host |
//! | `POST /v1/nodes/{name}/kill`, `…/start` | kills or starts a node |
//! | `PUT`, `DELETE /v1/links/{a}/{b}/impairment` | changes what a link does, or undoes that |

use std::path::Path;

use axum::extract::{Path as UrlPath, State};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::network::LabError;
use super::run::Shared;
use super::topology::Impair;
use crate::api::{self, ApiError, BindError};

/// Name of the socket in the lab's folder.
pub(super) const SOCKET: &str = "lab.sock";

/// Serves the lab's socket in `dir` until the runtime ends.
pub(super) fn serve(lab: &Shared, dir: &Path) -> Result<(), BindError> {
    let router = Router::new()
        .route("/v1/lab", get(show))
        .route("/v1/spaces/{name}", get(space))
        .route("/v1/nodes/{name}/kill", post(kill))
        .route("/v1/nodes/{name}/start", post(start))
        .route("/v1/links/{a}/{b}/impairment", put(impair).delete(restore))
        .with_state(lab.clone());
    let (listener, file) = api::bind(&dir.join(SOCKET))?;
    tokio::spawn(async move {
        let _file = file;
        api::serve(listener, router, std::future::pending()).await
    });
    Ok(())
}

type Answer = Result<Json<Value>, ApiError>;

async fn show(State(lab): State<Shared>) -> Json<Value> {
    Json(lab.lock().await.describe())
}

async fn space(State(lab): State<Shared>, UrlPath(name): UrlPath<String>) -> Answer {
    let lab = lab.lock().await;
    let netns = lab.netns(&name)?;
    let node = lab.plan().nodes.iter().find(|node| node.name == name);
    Ok(Json(json!({
        "pid": std::process::id(),
        "tid": netns.tid(),
        "api": node.map(|node| &node.socket),
    })))
}

async fn kill(State(lab): State<Shared>, UrlPath(name): UrlPath<String>) -> Answer {
    lab.lock().await.kill(&name).await?;
    Ok(Json(json!({ "killed": name })))
}

async fn start(State(lab): State<Shared>, UrlPath(name): UrlPath<String>) -> Answer {
    lab.lock().await.start(&name)?;
    Ok(Json(json!({ "started": name })))
}

async fn impair(
    State(lab): State<Shared>,
    UrlPath((a, b)): UrlPath<(String, String)>,
    Json(impair): Json<Impair>,
) -> Answer {
    lab.lock().await.impair([&a, &b], Some(&impair)).await?;
    Ok(Json(json!({ "link": [a, b], "impair": impair })))
}

async fn restore(State(lab): State<Shared>, UrlPath((a, b)): UrlPath<(String, String)>) -> Answer {
    lab.lock().await.impair([&a, &b], None).await?;
    Ok(Json(json!({ "link": [a, b] })))
}

impl From<LabError> for ApiError {
    fn from(error: LabError) -> ApiError {
        match error {
            LabError::Unknown(_) => ApiError::not_found(error),
            LabError::State { .. } => ApiError::conflict(error),
            _ => ApiError::unavailable(error),
        }
    }
}
