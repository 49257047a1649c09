//! The client that talks to gateways, receivers and stores.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{net::SocketAddr, process::Command, time::Duration};

use poem::{
    Response, Route, Server, get, handler,
    http::{HeaderMap, StatusCode},
    listener::{Acceptor, Listener, TcpListener},
};
use waybill_platform::{Config, files, http};

const ROLE: &str = "WAYBILL_TEST_ROLE";

#[handler]
fn agent(headers: &HeaderMap) -> String {
    headers["user-agent"].to_str().unwrap().to_owned()
}

#[handler]
fn elsewhere() -> Response {
    Response::builder().status(StatusCode::FOUND).header("location", "/agent").finish()
}

#[handler]
async fn never() -> String {
    std::future::pending().await
}

async fn serve() -> SocketAddr {
    let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.unwrap();
    let address = *acceptor.local_addr()[0].as_socket_addr().unwrap();
    let routes =
        Route::new().at("/agent", get(agent)).at("/elsewhere", get(elsewhere)).at("/never", get(never));
    tokio::spawn(Server::new_with_acceptor(acceptor).run(routes));
    address
}

#[tokio::test]
async fn it_says_who_it_is_and_follows_nobody() {
    let address = serve().await;
    let client = http::client(Duration::from_secs(10)).unwrap();
    let named = client.get(format!("http://{address}/agent")).send().await.unwrap();
    assert_eq!(named.text().await.unwrap(), concat!("waybill/", env!("CARGO_PKG_VERSION")));
    let redirected = client.get(format!("http://{address}/elsewhere")).send().await.unwrap();
    assert_eq!(redirected.status(), 302);
}

#[tokio::test]
async fn it_gives_up_on_who_does_not_answer() {
    let address = serve().await;
    let client = http::client(Duration::from_millis(200)).unwrap();
    let silent = client.get(format!("http://{address}/never")).send().await.unwrap_err();
    assert!(silent.is_timeout(), "{silent:?}");
}

#[test]
fn the_bundled_roots_are_complete() {
    assert_eq!(http::bundled_roots().len(), webpki_root_certs::TLS_SERVER_ROOT_CERTS.len());
    assert!(http::bundled_roots().len() > 100);
}

/// A container without a certificate bundle: the client and the S3 store must still start. The environment is read
/// once per process, so this runs in one of its own.
#[test]
fn it_starts_on_a_host_without_certificates() {
    if std::env::var_os(ROLE).is_some() {
        waybill_platform::install_crypto();
        assert!(reqwest::Client::builder().build().is_err(), "the host still shows certificates");
        http::client(Duration::from_secs(1)).unwrap();
        let bucket = Config::from_variables([
            ("WAYBILL_DATABASE__URL", "postgres://localhost/unused"),
            ("WAYBILL_FILES__URL", "s3://bucket"),
        ]);
        files::store(&bucket.unwrap().files).unwrap();
        return;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "it_starts_on_a_host_without_certificates", "--nocapture"])
        .env(ROLE, "bare host")
        .env("SSL_CERT_FILE", "/nonexistent")
        .env("SSL_CERT_DIR", "/nonexistent")
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
}
