use bizing_sandbox::{Options, Sandbox};
use serde_json::Value;

pub struct Api {
    pub sandbox: Sandbox,
    http: reqwest::Client,
}

pub async fn start(options: Options) -> Api {
    let sandbox = Sandbox::start(options).await.unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    Api { sandbox, http }
}

impl Api {
    pub async fn post(&self, path: &str, form: &[(&str, &str)]) -> (u16, Value) {
        self.post_as("", path, form).await
    }

    /// With an idempotency key.
    pub async fn post_as(&self, key: &str, path: &str, form: &[(&str, &str)]) -> (u16, Value) {
        let mut request = self
            .http
            .post(self.url(path))
            .bearer_auth("sk_test_sandbox")
            .form(form);
        if !key.is_empty() {
            request = request.header("idempotency-key", key);
        }
        read(request).await
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        read(self.http.get(self.url(path)).bearer_auth("sk_test_sandbox")).await
    }

    pub async fn tell(&self, path: &str, json: Value) -> u16 {
        let request = self.http.post(self.url(path)).json(&json);
        request.send().await.unwrap().status().as_u16()
    }

    pub async fn delete(&self, path: &str) -> Value {
        let asked = self.http.delete(self.url(path)).send();
        asked.await.unwrap().json().await.unwrap()
    }

    pub fn request(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.get(self.url(path))
    }

    pub async fn authorise(&self, amount: i64) -> String {
        let form = [
            ("amount", amount.to_string()),
            ("currency", "eur".to_owned()),
            ("capture_method", "manual".to_owned()),
            ("confirm", "true".to_owned()),
            ("payment_method", "pm_card_visa".to_owned()),
            ("metadata[booking_id]", format!("booking-{amount}")),
        ];
        let form: Vec<(&str, &str)> = form
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let (status, body) = self.post("/v1/payment_intents", &form).await;
        assert_eq!(status, 200, "{body}");
        body["id"].as_str().unwrap().to_owned()
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.sandbox.url())
    }
}

async fn read(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap())
}
