//! One trace from the request through its jobs to the payment gateway, as a collector gets it.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

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
use waybill_tests::{
    Plan, System,
    client::reply,
    receiver::{OPEN, Receiver},
    shop::checkout,
    until,
};

/// A span, as much as the test looks at.
#[derive(Debug, Clone)]
struct Span {
    service: String,
    name: String,
    trace: String,
    id: String,
    parent: String,
    kind: String,
    /// The standard's number: 3 client, 4 producer, 5 consumer.
    role: i32,
    /// Traces that it is linked to.
    links: Vec<String>,
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
                        role: span.kind,
                        links: span.links.iter().map(|link| hex(&link.trace_id)).collect(),
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

/// A gateway in front of the gateway, that keeps the `traceparent` of each request.
struct Door {
    url: String,
    target: Arc<OnceLock<String>>,
    traceparents: Arc<Mutex<Vec<String>>>,
}

async fn door() -> anyhow::Result<Door> {
    let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await?;
    let address = acceptor.local_addr().remove(0).as_socket_addr().context("no address")?.to_string();
    let (target, traceparents) = (Arc::new(OnceLock::<String>::new()), Arc::new(Mutex::new(Vec::new())));
    let client = waybill_platform::http::client(Duration::from_secs(10))?;
    let (to, seen) = (Arc::clone(&target), Arc::clone(&traceparents));
    let answer = poem::endpoint::make(move |mut request: Request| {
        let (to, seen, client) = (Arc::clone(&to), Arc::clone(&seen), client.clone());
        async move {
            let wrong = |error| poem::Error::new(error, poem::http::StatusCode::BAD_GATEWAY);
            let traceparent = request.header("traceparent").unwrap_or_default().to_owned();
            seen.lock().unwrap_or_else(PoisonError::into_inner).push(traceparent);
            let url = format!("{}{}", to.get().map_or("", String::as_str), request.original_uri());
            let body = request.take_body().into_bytes().await?;
            let mut headers = request.headers().clone();
            headers.remove("host");
            let sent = client.request(request.method().clone(), url).headers(headers).body(body).send();
            let answer = sent.await.map_err(wrong)?;
            let status = answer.status();
            let body = answer.bytes().await.map_err(wrong)?;
            Ok::<_, poem::Error>(
                poem::Response::builder().status(status).content_type("application/json").body(body),
            )
        }
    });
    tokio::spawn(async move {
        let _ = Server::new_with_acceptor(acceptor).run(answer.map_to_response()).await;
    });
    Ok(Door { url: format!("http://{address}"), target, traceparents })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_goes_from_the_shop_to_the_mail() -> anyhow::Result<()> {
    let (endpoint, spans) = collector().await?;
    let door = door().await?;
    let plan = Plan::with(&[
        ("WAYBILL_PAYMENTS__SANDBOX__URL", door.url.as_str()),
        ("WAYBILL_TELEMETRY__OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ]);
    let system = System::start(plan).await?;
    let _ = door.target.set(system.gateway.url());
    let receiver = Receiver::start(&[], OPEN).await?;
    system.tell(&receiver.url, &["order.confirmed"]).await?;
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
    receiver.until("order.confirmed", 1).await?;
    let (request, run, mail, hook) = until("the spans to arrive", async || {
        let request = found("waybill-api", "request", "");
        let run = found("waybill-worker", "job", "checkout.run");
        let mail = found("waybill-worker", "job", "mail.send");
        let hook = found("waybill-worker", "job", "webhook.deliver");
        Ok(match (request, run, mail, hook) {
            (Some(request), Some(run), Some(mail), Some(hook)) => Ok((request, run, mail, hook)),
            _ => Err(format!("{:#?}", ours())),
        })
    })
    .await?;
    ensure!(request.parent == "00f067aa0ba902b7", "{request:?}");
    ensure!(run.parent == request.id, "{run:?} of {request:?}");
    // Over the event that the checkout emitted.
    ensure!(mail.parent == run.id, "{mail:?} of {run:?}");

    ensure!(hook.parent == run.id, "{hook:?} of {run:?}");

    // Calls to the outside are spans of their own, and it is those that the outside is told of.
    let call = |name: &str, parent: &Span| {
        let calls =
            ours().into_iter().filter(|span| span.name == name && span.parent == parent.id && span.role == 3);
        calls.collect::<Vec<_>>()
    };
    let told = |span: &Span| format!("00-{}-{}-01", span.trace, span.id);
    until("the calls to arrive", async || {
        let all = [
            call("gateway", &run).len() >= 2,
            !call("webhook", &hook).is_empty(),
            !call("mail", &mail).is_empty(),
        ];
        Ok(if all == [true; 3] { Ok(()) } else { Err(format!("{all:?} {:#?}", ours())) })
    })
    .await?;
    let posted = receiver.posted().remove(0);
    ensure!(call("webhook", &hook).iter().any(|span| told(span) == posted.traceparent), "{posted:?}");
    let asked = door.traceparents.lock().unwrap_or_else(PoisonError::into_inner).clone();
    ensure!(call("gateway", &run).iter().all(|span| asked.contains(&told(span))), "{asked:?}");

    // Batches of messages belong to no trace, but are linked to those of what is in them.
    let linked = |name: &str, role: i32| {
        let spans = spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.iter().any(|s| s.name == name && s.role == role && s.links.contains(&run.trace))
    };
    let broker = system.exchange.is_some();
    until("the batches to arrive", async || {
        let both = (linked("publish", 4) == broker, linked("events", 5));
        Ok(if both == (true, true) { Ok(()) } else { Err(format!("{both:?}")) })
    })
    .await?;

    let worker = system.workers.first().context("no worker")?.log();
    ensure!(worker.contains("4bf92f3577b34da6a3ce929d0e0e4736"), "the log can be joined too: {worker}");
    Ok(())
}
