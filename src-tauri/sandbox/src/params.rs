//! Stripe's form encoding (`metadata[a]=1`, `line_items[0][quantity]=1`, `types[]=x`), read by our own hand: the desk
//! writes it with a library, and a referee that used the same one would share its mistakes.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::error::ApiError;

const MOST_PAIRS: usize = 1_000;
const DEEPEST: usize = 8;

/// The parameters of one request. Each is taken out as it is read; what is left at the end is unknown to us.
#[derive(Debug, Default)]
pub struct Params {
    map: Map<String, Value>,
    prefix: String,
}

type Checked<T> = Result<T, Box<ApiError>>;

impl Params {
    pub fn parse(form: &[u8]) -> Checked<Params> {
        let mut root = Value::Object(Map::new());
        for (index, (name, value)) in form_urlencoded::parse(form).enumerate() {
            let path = split(&name).filter(|path| path.len() <= DEEPEST && index < MOST_PAIRS);
            let path = path.ok_or_else(|| {
                ApiError::invalid(None, &name, format!("Invalid parameter name: {name}"))
            })?;
            if !insert(&mut root, &path, Value::String(value.into_owned())) {
                return Err(ApiError::invalid(
                    None,
                    &name,
                    format!("Invalid use of a parameter: {name}"),
                ));
            }
        }
        match lists(root) {
            Value::Object(map) => Ok(Params {
                map,
                prefix: String::new(),
            }),
            _ => Ok(Params::default()),
        }
    }

    /// The same parameters in another order are the same request.
    pub fn canonical(&self) -> String {
        // serde_json keeps its maps sorted, and a `Map` of strings always serialises.
        serde_json::to_string(&self.map).unwrap_or_default()
    }

    pub fn text(&mut self, name: &str) -> Checked<Option<String>> {
        match self.map.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Err(self.bad(
                "parameter_invalid_empty",
                name,
                "You passed an empty string for",
            )),
            Some(Value::String(text)) if text.len() <= 5_000 => Ok(Some(text)),
            Some(_) => Err(self.bad("parameter_invalid_string", name, "Invalid string for")),
        }
    }

    pub fn required(&mut self, name: &str) -> Checked<String> {
        self.text(name)?
            .ok_or_else(|| self.bad("parameter_missing", name, "Missing required param:"))
    }

    pub fn integer(&mut self, name: &str) -> Checked<Option<i64>> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        text.parse()
            .map(Some)
            .map_err(|_| self.bad("parameter_invalid_integer", name, "Invalid integer for"))
    }

    pub fn flag(&mut self, name: &str) -> Checked<Option<bool>> {
        match self.text(name)?.as_deref() {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(self.bad("parameter_invalid_boolean", name, "Invalid boolean for")),
        }
    }

    pub fn one_of(&mut self, name: &str, allowed: &[&str]) -> Checked<Option<String>> {
        let text = self.text(name)?;
        match &text {
            Some(text) if !allowed.contains(&text.as_str()) => Err(self.bad(
                "parameter_invalid_enum",
                name,
                &format!("must be one of {}:", allowed.join(", ")),
            )),
            _ => Ok(text),
        }
    }

    pub fn metadata(&mut self) -> Checked<BTreeMap<String, String>> {
        let map = match self.map.remove("metadata") {
            None => return Ok(BTreeMap::new()),
            Some(Value::Object(map)) => map,
            Some(_) => {
                return Err(self.bad("parameter_invalid_string", "metadata", "Invalid object for"));
            }
        };
        let fits = |(key, value): (String, Value)| {
            let value = value.as_str()?.to_owned();
            (key.len() <= 40 && value.len() <= 500).then_some((key, value))
        };
        let count = map.len();
        let pairs: BTreeMap<_, _> = map.into_iter().filter_map(fits).collect();
        if count > 50 || pairs.len() < count {
            let limits = "Metadata takes 50 keys of 40 characters and values of 500:";
            return Err(self.bad("parameter_invalid_string", "metadata", limits));
        }
        Ok(pairs)
    }

    pub fn texts(&mut self, name: &str) -> Checked<Vec<String>> {
        match self.map.remove(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                let texts: Option<Vec<String>> = items
                    .into_iter()
                    .map(|v| v.as_str().map(str::to_owned))
                    .collect();
                texts.ok_or_else(|| {
                    self.bad(
                        "parameter_invalid_string",
                        name,
                        "Invalid array of strings:",
                    )
                })
            }
            Some(_) => Err(self.bad("parameter_invalid_string", name, "Invalid array:")),
        }
    }

    /// A nested object; absent is empty.
    pub fn object(&mut self, name: &str) -> Checked<Params> {
        match self.map.remove(name) {
            None => Ok(Params {
                map: Map::new(),
                prefix: self.full(name),
            }),
            Some(Value::Object(map)) => Ok(Params {
                map,
                prefix: self.full(name),
            }),
            Some(_) => Err(self.bad("parameter_invalid_string", name, "Invalid object for")),
        }
    }

    pub fn objects(&mut self, name: &str) -> Checked<Vec<Params>> {
        let Some(value) = self.map.remove(name) else {
            return Ok(Vec::new());
        };
        let Value::Array(items) = value else {
            return Err(self.bad("parameter_invalid_string", name, "Invalid array:"));
        };
        let nested = |(index, item)| match item {
            Value::Object(map) => Ok(Params {
                map,
                prefix: format!("{}[{index}]", self.full(name)),
            }),
            _ => Err(self.bad("parameter_invalid_string", name, "Invalid object in")),
        };
        items.into_iter().enumerate().map(nested).collect()
    }

    /// Refuses what nobody asked for. Called before anything is changed.
    pub fn finish(self) -> Checked<()> {
        match self.map.keys().next() {
            None => Ok(()),
            Some(name) => Err(self.bad("parameter_unknown", name, "Received unknown parameter:")),
        }
    }

    fn full(&self, name: &str) -> String {
        if self.prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{}[{name}]", self.prefix)
        }
    }

    fn bad(&self, code: &'static str, name: &str, what: &str) -> Box<ApiError> {
        let name = self.full(name);
        ApiError::invalid(Some(code), &name, format!("{what} {name}"))
    }
}

/// `a[b][0]` → `["a", "b", "0"]`.
fn split(name: &str) -> Option<Vec<&str>> {
    let Some((head, rest)) = name.split_once('[') else {
        return (!name.is_empty()).then(|| vec![name]);
    };
    let inner = rest.strip_suffix(']')?;
    let mut path = vec![head];
    path.extend(inner.split("]["));
    (!head.is_empty() && path.iter().all(|part| !part.contains(['[', ']']))).then_some(path)
}

/// `false` when a name is used both as a value and as an object, or twice.
fn insert(at: &mut Value, path: &[&str], value: Value) -> bool {
    let (Value::Object(map), Some((first, rest))) = (at, path.split_first()) else {
        return false;
    };
    // `types[]=a&types[]=b` numbers itself.
    let key = if first.is_empty() {
        map.len().to_string()
    } else {
        (*first).to_owned()
    };
    if rest.is_empty() {
        return map.insert(key, value).is_none();
    }
    insert(
        map.entry(key).or_insert_with(|| Value::Object(Map::new())),
        rest,
        value,
    )
}

/// An object whose keys are 0, 1, 2 … was a list.
fn lists(value: Value) -> Value {
    let Value::Object(map) = value else {
        return value;
    };
    let count = map.len();
    if count > 0 && (0..count).all(|index| map.contains_key(&index.to_string())) {
        let mut items: Vec<(usize, Value)> = map
            .into_iter()
            .map(|(key, item)| (key.parse().unwrap_or(usize::MAX), lists(item)))
            .collect();
        items.sort_by_key(|(index, _)| *index);
        return Value::Array(items.into_iter().map(|(_, item)| item).collect());
    }
    Value::Object(
        map.into_iter()
            .map(|(key, item)| (key, lists(item)))
            .collect(),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Params;

    #[test]
    fn nested_names_become_objects_and_lists() {
        let mut params = Params::parse(b"a%5Bb%5D=1&l[1][q]=y&l[0][q]=x&t[]=p&t[]=q&m=1").unwrap();
        assert_eq!(params.texts("t").unwrap(), ["p", "q"]);
        let items: Vec<_> = params
            .objects("l")
            .unwrap()
            .iter_mut()
            .map(|p| p.required("q").unwrap())
            .collect();
        assert_eq!(items, ["x", "y"]);
        assert_eq!(params.object("a").unwrap().required("b").unwrap(), "1");
        assert_eq!(
            params.finish().unwrap_err().message,
            "Received unknown parameter: m"
        );
    }

    #[test]
    fn names_that_contradict_each_other_are_refused() {
        for form in ["a=1&a=2", "a=1&a[b]=2", "a[=1", "[x]=1", "=1", "a[b=1"] {
            assert!(Params::parse(form.as_bytes()).is_err(), "{form}");
        }
    }
}
