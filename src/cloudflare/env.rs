//! Bindings and variables of the Worker.

use worker::Env;
use worker::js_sys::Reflect;
use worker::wasm_bindgen::JsValue;

use super::role::Object;
use crate::gateway::{Config, ConfigError};
use crate::message::PartitionId;

/// The D1 database of the first partition; those of the others have their numbers behind it.
const DATABASE: &str = "DB";
/// The Durable Object namespace.
pub const OBJECT: &str = "NEXUS_RELAY";
/// The HUD's files.
pub const ASSETS: &str = "ASSETS";

/// The binding of an object's database: a gateway looks at none, and has that of home.
pub fn database(object: Object) -> String {
    match object {
        Object::HOME | Object::Gateway(_) => DATABASE.to_owned(),
        Object::Partition(PartitionId(n)) => format!("{DATABASE}_{n}"),
    }
}

/// Reads the settings from the Worker's variables.
pub fn config(env: &Env) -> Result<Config, ConfigError> {
    Config::read(|key| variable(env, key))
}

fn variable(env: &Env, key: &str) -> Option<String> {
    let value = Reflect::get(env, &JsValue::from_str(key)).ok()?;
    if value.is_undefined() || value.is_null() {
        return None;
    }
    // wrangler.toml may say true or 500 where a string is meant.
    let number = || value.as_f64().map(|number| number.to_string());
    let flag = || value.as_bool().map(|flag| flag.to_string());
    value.as_string().or_else(number).or_else(flag).or_else(|| Some("an object".to_owned()))
}
