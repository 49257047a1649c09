use crate::support::{App, PASSWORD};

#[tokio::test]
async fn repeated_failures_are_slowed_down_for_accounts_and_for_addresses_without_one() {
    let app = App::with(&[("WAYBILL_API__LOGIN_ATTEMPTS_PER_MINUTE", "3")]).await;
    app.register("victim@example.com").await;
    for _ in 0..3 {
        app.login("victim@example.com", "wrong password").await.problem(401, "invalid_credentials");
    }
    // Now even the right password has to wait.
    let answer = app.login("victim@example.com", PASSWORD).await;
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    answer.problem(429, "rate_limited");
    assert_eq!(
        app.db.count("select failed_logins::bigint as n from users where email like 'victim%'").await,
        3
    );
}

#[tokio::test]
async fn an_address_that_tries_many_accounts_is_slowed_down() {
    let settings =
        [("WAYBILL_API__LOGIN_ATTEMPTS_PER_MINUTE", "3"), ("WAYBILL_RATE_LIMIT__TRUSTED_PROXIES", "1")];
    let app = App::with(&settings).await;
    let try_one = |n: usize, address: &'static str| {
        let body =
            serde_json::json!({ "email": format!("nobody{n}@example.com"), "password": "a wrong one" });
        app.post("/v1/auth/login", body).header("x-forwarded-for", address).send()
    };
    for n in 0..3 {
        try_one(n, "198.51.100.1").await.problem(401, "invalid_credentials");
    }
    try_one(3, "198.51.100.1").await.problem(429, "rate_limited");
    try_one(4, "198.51.100.2").await.problem(401, "invalid_credentials");
}

#[tokio::test]
async fn replicas_agree_on_a_locked_account_and_a_success_forgets_failures() {
    let app = App::with(&[("WAYBILL_API__LOGIN_ATTEMPTS_PER_MINUTE", "5")]).await;
    app.register("locked@example.com").await;
    app.login("locked@example.com", "wrong password").await.problem(401, "invalid_credentials");
    app.login("locked@example.com", PASSWORD).await.expect(200);
    assert_eq!(
        app.db.count("select failed_logins::bigint as n from users where email like 'locked%'").await,
        0
    );
    // As another replica has left it.
    app.db
        .execute("update users set failed_logins = 9, locked_until = now() + interval '30 seconds' where email like 'locked%'")
        .await;
    app.login("locked@example.com", PASSWORD).await.problem(429, "rate_limited");
}
