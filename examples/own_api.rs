//! An API of your own: it reads a sensor of the device, and switches its heater.

use std::{env, fs, io, process::ExitCode};

use postern::{Answer, Auth, Handler, Request, Response, Route, Router};
use serde::{Deserialize, Serialize};

static ROUTES: Router<Device> = Router::new(&[
    Route::get("/api/temperature", Device::temperature),
    Route::post("/api/heater", Device::switch_heater),
]);

struct Device {
    auth: Auth,
    sensor_file: String,
    heater_file: String,
}

#[derive(Serialize)]
struct Reading {
    celsius: f64,
}

#[derive(Deserialize)]
struct Heater {
    on: bool,
}

impl Device {
    fn temperature(&self, request: &Request<'_>) -> Answer {
        let access = self.auth.authenticate(request)?;
        access.require("read:temperature")?;
        let text = fs::read_to_string(&self.sensor_file)?;
        let millis: f64 = text.trim().parse().map_err(io::Error::other)?;
        let celsius = millis / 1000.0;
        Ok(Response::json(200, &Reading { celsius }))
    }

    fn switch_heater(&self, request: &Request<'_>) -> Answer {
        let access = self.auth.authenticate(request)?;
        access.require("switch:heater")?;
        let heater: Heater = request.json(1024)?;
        fs::write(&self.heater_file, if heater.on { "1" } else { "0" })?;
        Ok(Response::empty(204))
    }
}

impl Handler for Device {
    fn handle(&self, request: &Request<'_>) -> Answer {
        ROUTES.answer(self, request)
    }
}

fn main() -> ExitCode {
    postern::run(|auth| Device {
        auth,
        sensor_file: env::var("SENSOR_FILE").unwrap_or_default(),
        heater_file: env::var("HEATER_FILE").unwrap_or_default(),
    })
}
