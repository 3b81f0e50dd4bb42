// An Express service that verifies Countersign's JWTs offline.

import express from "express";

import { requireUser } from "./verify.js";

const port = Number(process.env.PORT ?? 8001);
const app = express();
app.disable("x-powered-by");

app.get("/", (req, res) => {
  res.json({ message: "Anyone may read this. /hello is for users, /admin for admins." });
});

app.get("/hello", requireUser(), (req, res) => {
  const { id, name, roles } = req.user;
  res.json({ name, sub: id, roles });
});

app.get("/admin", requireUser({ role: "admin" }), (req, res) => {
  res.json({ message: `${req.user.name} is an admin.` });
});

app.use((req, res) => {
  res.status(404).json({ error: "There is nothing here." });
});

// Express recognizes an error handler by its four parameters.
app.use((error, req, res, next) => {
  if (res.headersSent) return next(error);
  const status = error.status ?? 500;
  if (status >= 500) console.error(error);
  res.status(status).json({ error: status < 500 ? "The request cannot be read." : "Something went wrong." });
});

app.listen(port, "127.0.0.1", (error) => {
  if (error) throw error;
  console.log(`listening on http://127.0.0.1:${port}`);
});
