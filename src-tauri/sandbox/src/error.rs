//! Stripe's error object.

use serde_json::{Map, Value, json};

/// What a request is refused with. Boxed where it travels, since most requests succeed.
#[derive(Clone, Debug)]
pub struct ApiError {
    pub status: u16,
    pub kind: &'static str,
    pub code: Option<&'static str>,
    pub decline_code: Option<&'static str>,
    pub message: String,
    pub param: Option<String>,
    pub intent: Option<Value>,
    pub charge: Option<String>,
    /// Kept under the idempotency key. Stripe keeps what it began to execute; a parameter that doesn't validate never
    /// got that far, so the same key may come back with better ones.
    pub stored: bool,
}

pub type Outcome = Result<Value, Box<ApiError>>;

impl ApiError {
    pub fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Box<ApiError> {
        Box::new(ApiError {
            status,
            kind,
            code: None,
            decline_code: None,
            message: message.into(),
            param: None,
            intent: None,
            charge: None,
            stored: true,
        })
    }

    /// A parameter that is missing, unknown or malformed.
    pub fn invalid(
        code: Option<&'static str>,
        param: &str,
        message: impl Into<String>,
    ) -> Box<ApiError> {
        let mut error = ApiError::new(400, "invalid_request_error", message);
        error.code = code;
        error.param = Some(param.to_owned());
        error.stored = false;
        error
    }

    pub fn missing(what: &str, id: &str, param: &str, status: u16) -> Box<ApiError> {
        let mut error = ApiError::invalid(
            Some("resource_missing"),
            param,
            format!("No such {what}: '{id}'"),
        );
        error.status = status;
        error
    }

    /// The object exists and the parameters are fine, but not in this state.
    pub fn refused(code: Option<&'static str>, message: impl Into<String>) -> Box<ApiError> {
        let mut error = ApiError::new(400, "invalid_request_error", message);
        error.code = code;
        error
    }

    pub fn with_intent(mut self: Box<Self>, intent: Value) -> Box<ApiError> {
        self.intent = Some(intent);
        self
    }

    pub fn body(&self) -> Value {
        let mut error = Map::new();
        if let Some(charge) = &self.charge {
            error.insert("charge".into(), json!(charge));
        }
        if let Some(code) = self.code {
            error.insert("code".into(), json!(code));
            error.insert(
                "doc_url".into(),
                json!(format!(
                    "https://stripe.com/docs/error-codes/{}",
                    code.replace('_', "-")
                )),
            );
        }
        if let Some(code) = self.decline_code {
            error.insert("decline_code".into(), json!(code));
        }
        error.insert("message".into(), json!(self.message));
        if let Some(param) = &self.param {
            error.insert("param".into(), json!(param));
        }
        if let Some(intent) = &self.intent {
            error.insert("payment_intent".into(), intent.clone());
        }
        error.insert("type".into(), json!(self.kind));
        json!({ "error": error })
    }
}
