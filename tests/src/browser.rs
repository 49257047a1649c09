//! A browser, driven over `WebDriver`.

use std::{
    env,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use crate::until;

/// The key under which `WebDriver` names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser of a test's own, without a window.
pub struct Browser {
    http: reqwest::Client,
    session: String,
    program: Option<Pid>,
    // The driver would end if nobody could read what it says.
    _said: Lines<BufReader<ChildStdout>>,
    // After the browser in the order of going: the driver.
    _driver: Child,
    profile: TempDir,
}

impl Browser {
    /// Starts one; `None` where the run has none.
    pub async fn start() -> anyhow::Result<Option<Self>> {
        let variables = (env::var_os("WAYBILL_TEST_CHROMEDRIVER"), env::var_os("WAYBILL_TEST_CHROMIUM"));
        let (Some(driver), Some(program)) = variables else { return Ok(None) };
        waybill_platform::install_crypto();
        let mut driver = Command::new(driver)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("starting chromedriver")?;
        let output = driver.stdout.take().context("no standard output")?;
        let mut said = BufReader::new(output).lines();
        let port = tokio::time::timeout(Duration::from_secs(60), port(&mut said))
            .await
            .context("chromedriver")??;
        let profile = TempDir::with_prefix("waybill-browser-")?;
        let arguments = [
            "--headless=new".to_owned(),
            // It refuses to run as root otherwise, and sees nothing but us.
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-background-networking".to_owned(),
            "--no-first-run".to_owned(),
            "--window-size=1440,1000".to_owned(),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        let options = json!({ "binary": program.to_string_lossy(), "args": arguments });
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let http = waybill_platform::http::client(Duration::from_secs(60))?;
        let base = format!("http://127.0.0.1:{port}/session");
        let answer = command(http.post(&base).json(&wanted)).await?;
        let id = answer["sessionId"].as_str().context("no session")?;
        let pid = answer["capabilities"]["goog:processID"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        Ok(Some(Self {
            http,
            session: format!("{base}/{id}"),
            program: pid.map(Pid::from_raw),
            _said: said,
            _driver: driver,
            profile,
        }))
    }

    async fn ask(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.http.request(method.clone(), format!("{}{path}", self.session));
        command(if method == Method::GET { request } else { request.json(body) }).await
    }

    /// Goes to an address.
    pub async fn open(&self, url: &str) -> anyhow::Result<()> {
        self.ask(Method::POST, "/url", &json!({ "url": url })).await.map(drop)
    }

    /// What an expression of the page is.
    pub async fn eval(&self, expression: &str) -> anyhow::Result<Value> {
        let script = json!({ "script": format!("return ({expression});"), "args": [] });
        self.ask(Method::POST, "/execute/sync", &script).await
    }

    /// Waits until an expression of the page is true, or something.
    pub async fn until(&self, expression: &str) -> anyhow::Result<Value> {
        until(expression, async || {
            let value = self.eval(expression).await?;
            let nothing = [json!(null), json!(false), json!(""), json!(0)].contains(&value);
            Ok(if nothing { Err(self.text().await?) } else { Ok(value) })
        })
        .await
    }

    /// All text of the page.
    pub async fn text(&self) -> anyhow::Result<String> {
        let text = self.eval("document.body?.innerText").await?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Waits until the page shows a text.
    pub async fn shows(&self, text: &str) -> anyhow::Result<()> {
        self.until(&format!("document.body.innerText.includes({})", json!(text))).await.map(drop)
    }

    /// Waits for an element, and presses it as a person would: it must be seen, and nothing may lie over it.
    pub async fn click(&self, css: &str) -> anyhow::Result<()> {
        until(css, async || {
            let Ok(element) = self.find(css).await else { return Ok(Err("there is none".to_owned())) };
            let pressed = self.ask(Method::POST, &format!("/element/{element}/click"), &json!({})).await;
            Ok(pressed.map(drop).map_err(|error| error.to_string()))
        })
        .await
    }

    /// Writes into a field, in place of what it holds.
    pub async fn fill(&self, css: &str, text: &str) -> anyhow::Result<()> {
        self.until(&format!("!!document.querySelector({})", json!(css))).await?;
        let element = self.find(css).await?;
        self.ask(Method::POST, &format!("/element/{element}/clear"), &json!({})).await?;
        self.ask(Method::POST, &format!("/element/{element}/value"), &json!({ "text": text })).await.map(drop)
    }

    async fn find(&self, css: &str) -> anyhow::Result<String> {
        let query = json!({ "using": "css selector", "value": css });
        let element = self.ask(Method::POST, "/element", &query).await?;
        Ok(element[ELEMENT].as_str().context("no element")?.to_owned())
    }

    /// From now on the screen is so many pixels wide and high, as a phone's.
    pub async fn screen(&self, width: u32, height: u32) -> anyhow::Result<()> {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": true });
        let order = json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": metrics });
        self.ask(Method::POST, "/goog/cdp/execute", &order).await.map(drop)
    }

    /// What the browser complained of since the last time, but for answers that were no success.
    pub async fn complaints(&self) -> anyhow::Result<Vec<String>> {
        let entries = self.ask(Method::POST, "/se/log", &json!({ "type": "browser" })).await?;
        let entries = entries.as_array().cloned().unwrap_or_default();
        let loud = entries.iter().filter(|entry| entry["source"] != "network" && entry["level"] != "DEBUG");
        Ok(loud.map(Value::to_string).collect())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver's end would leave it running.
        if let Some(program) = self.program {
            let _ = kill(program, Signal::SIGKILL);
        }
        // Its helpers notice a little later, and write until then.
        let deadline = Instant::now() + Duration::from_secs(2);
        while std::fs::remove_dir_all(self.profile.path()).is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

async fn port(said: &mut Lines<BufReader<ChildStdout>>) -> anyhow::Result<u16> {
    while let Some(line) = said.next_line().await? {
        if let Some((_, port)) = line.trim_end_matches('.').rsplit_once("successfully on port ") {
            return Ok(port.parse()?);
        }
    }
    anyhow::bail!("chromedriver ended")
}

async fn command(request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
    let response = request.send().await?;
    let status = response.status();
    let mut answer: Value = response.json().await?;
    ensure!(status.is_success(), "{}: {}", answer["value"]["error"], answer["value"]["message"]);
    Ok(answer["value"].take())
}
