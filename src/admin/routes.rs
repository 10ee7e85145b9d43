//! What is answered at each path.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State as Shared};
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use serde_json::json;

use super::access::{Access, judge, require};
use super::answer::{Refusal, json, text};
use super::query::{AuditParameters, TopParameters};
use super::stream;
use super::{ExplainQuery, State};

/// The type of plain answers.
const PLAIN: &str = "text/plain; charset=utf-8";
/// The type of the Prometheus text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// The most bytes of a question.
const BODY: usize = 16 * 1024;

/// Every path, behind the checks of who asks.
pub(super) fn router(state: &Arc<State>) -> Router {
    let guarded = Router::new()
        .route("/v1/policy", get(policy))
        .route("/v1/audit", get(audit))
        .route("/v1/audit/stream", get(stream::follow))
        .route("/v1/top", get(top))
        .route("/v1/explain", get(explain).post(explain_body))
        .route_layer(from_fn(require));
    let open = Router::new()
        .route("/livez", get(async || text(PLAIN, "ok\n".to_owned())))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics));
    open.merge(guarded)
        .fallback(async || Refusal::NotFound)
        .method_not_allowed_fallback(async || Refusal::MethodNotAllowed)
        .layer(from_fn_with_state(Arc::clone(state), judge))
        .with_state(Arc::clone(state))
}

/// Whether the gateway can do its work; why not is told to those who may know.
async fn ready(Shared(state): Shared<Arc<State>>, Extension(access): Extension<Access>) -> Response {
    let checks = state.readiness();
    let ready = checks.iter().all(|check| check.ok);
    let mut response = match access {
        Access(Some(_)) => json(&json!({"ready": ready, "checks": checks})),
        Access(None) => text(PLAIN, if ready { "ready\n" } else { "not ready\n" }.to_owned()),
    };
    if !ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

/// The metrics.
async fn metrics(Shared(state): Shared<Arc<State>>) -> Response {
    text(PROMETHEUS, state.metrics.encode(&state.audit.counts()))
}

/// The policy in force.
async fn policy(Shared(state): Shared<Arc<State>>) -> Response {
    json(&state.inspect.policy())
}

/// The last lines of the audit log.
async fn audit(
    Shared(state): Shared<Arc<State>>,
    parameters: Result<Query<AuditParameters>, QueryRejection>,
) -> Result<Response, Refusal> {
    let query = parameters.map_err(bad_query)?.0.parse()?;
    let page = state.audit.recent().query(&query);
    // The lines are JSON as they are.
    let mut body = format!(r#"{{"oldest":{},"newest":{},"events":["#, page.oldest, page.newest);
    for (index, line) in page.lines.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = write!(body, "{}{line}", if index == 0 { "" } else { "," });
    }
    body.push_str("]}");
    Ok(text("application/json", body))
}

/// The busiest hosts, sandboxes or rules.
async fn top(
    Shared(state): Shared<Arc<State>>,
    parameters: Result<Query<TopParameters>, QueryRejection>,
) -> Result<Response, Refusal> {
    let (by, limit) = parameters.map_err(bad_query)?.0.parse()?;
    Ok(json(&json!({"by": by.as_str(), "rows": state.top.rows(by, limit)})))
}

/// The decision about a destination that the query names.
async fn explain(
    Shared(state): Shared<Arc<State>>,
    parameters: Result<Query<ExplainQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let query = parameters.map_err(bad_query)?.0;
    Ok(json(&state.inspect.explain(&query)))
}

/// The decision about a destination that the body names.
async fn explain_body(Shared(state): Shared<Arc<State>>, body: Body) -> Result<Response, Refusal> {
    let body = tokio::time::timeout(state.limits.patience, axum::body::to_bytes(body, BODY)).await;
    let body = body.map_err(|_| Refusal::Timeout)?;
    let body = body.map_err(|_| Refusal::BadQuery(format!("the body must have at most {BODY} bytes")))?;
    let query: ExplainQuery =
        serde_json::from_slice(&body).map_err(|error| Refusal::BadQuery(error.to_string()))?;
    Ok(json(&state.inspect.explain(&query)))
}

/// What is wrong with a query.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn bad_query(rejection: QueryRejection) -> Refusal {
    Refusal::BadQuery(rejection.body_text())
}
