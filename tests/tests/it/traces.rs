//! One trace from the request through its jobs to the payment gateway, as a collector gets it.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, ensure};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value as Any},
};
use poem::{
    EndpointExt as _, Request, Server,
    listener::{Acceptor as _, Listener as _, TcpListener},
};
use prost::Message as _;
use serde_json::json;
use waybill_tests::{Plan, System, client::reply, shop::checkout, until};

/// A span, as much as the test looks at.
#[derive(Debug, Clone)]
struct Span {
    service: String,
    name: String,
    trace: String,
    id: String,
    parent: String,
    kind: String,
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let value = attributes.iter().find(|a| a.key == key).and_then(|a| a.value.clone()).and_then(|v| v.value);
    match value {
        Some(Any::StringValue(text)) => text,
        _ => String::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// A collector; answers with its address and what it has got.
async fn collector() -> anyhow::Result<(String, Arc<Mutex<Vec<Span>>>)> {
    let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await?;
    let address = acceptor.local_addr().remove(0).as_socket_addr().context("no address")?.to_string();
    let spans = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&spans);
    let answer = poem::endpoint::make(move |mut request: Request| {
        let seen = Arc::clone(&seen);
        async move {
            let wrong = |error| poem::Error::from_string(error, poem::http::StatusCode::BAD_REQUEST);
            if request.uri().path() != "/v1/traces" {
                return Err(wrong("not where traces go".to_owned()));
            }
            let body = request.take_body().into_bytes().await?;
            let batch = ExportTraceServiceRequest::decode(body).map_err(|error| wrong(error.to_string()))?;
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            for resource in batch.resource_spans {
                let service = text(&resource.resource.unwrap_or_default().attributes, "service.name");
                for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                    seen.push(Span {
                        service: service.clone(),
                        kind: text(&span.attributes, "kind"),
                        name: span.name,
                        trace: hex(&span.trace_id),
                        id: hex(&span.span_id),
                        parent: hex(&span.parent_span_id),
                    });
                }
            }
            Ok(())
        }
    });
    tokio::spawn(async move {
        let _ = Server::new_with_acceptor(acceptor).run(answer.map_to_response().boxed()).await;
    });
    Ok((format!("http://{address}"), spans))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_goes_from_the_shop_to_the_mail() -> anyhow::Result<()> {
    let (endpoint, spans) = collector().await?;
    let plan = Plan::with(&[
        ("WAYBILL_TELEMETRY__OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ]);
    let system = System::start(plan).await?;
    system.sell("MUG-1", "7.65", 10).await?;

    let mut body = checkout(&[("MUG-1", 1)], "tok_visa");
    body["email"] = json!("ada@example.com");
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = system.anybody.request(reqwest::Method::POST, "/v1/checkout");
    let placed = reply(
        request
            .header("traceparent", parent)
            .header("idempotency-key", uuid::Uuid::now_v7().to_string())
            .json(&body),
    )
    .await?;
    ensure!(placed.status == reqwest::StatusCode::ACCEPTED, "{:?}", placed.body);
    let order = system.settled(&placed.body).await?;
    ensure!(order["status"] == "confirmed", "{order}");
    system.until_count("the mail", "select count(*) as n from mails where status = 'sent'", 1).await?;

    let ours = || -> Vec<Span> {
        let spans = spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.iter().filter(|span| span.trace == "4bf92f3577b34da6a3ce929d0e0e4736").cloned().collect()
    };
    let found = |service: &str, name: &str, kind: &str| {
        ours().into_iter().find(|s| s.service == service && s.name == name && s.kind == kind)
    };
    let (request, run, mail) = until("the spans to arrive", async || {
        let request = found("waybill-api", "request", "");
        let run = found("waybill-worker", "job", "checkout.run");
        let mail = found("waybill-worker", "job", "mail.send");
        Ok(match (request, run, mail) {
            (Some(request), Some(run), Some(mail)) => Ok((request, run, mail)),
            _ => Err(format!("{:#?}", ours())),
        })
    })
    .await?;
    ensure!(request.parent == "00f067aa0ba902b7", "{request:?}");
    ensure!(run.parent == request.id, "{run:?} of {request:?}");
    // Over the event that the checkout emitted.
    ensure!(mail.parent == run.id, "{mail:?} of {run:?}");

    let worker = system.workers.first().context("no worker")?.log();
    ensure!(worker.contains("4bf92f3577b34da6a3ce929d0e0e4736"), "the log can be joined too: {worker}");
    Ok(())
}
