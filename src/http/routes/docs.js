// The base layout is Swagger UI without the bar at the top. Tags and routes stay in the order of the document.
SwaggerUIBundle({
  url: "../openapi.json",
  dom_id: "#api",
  layout: "BaseLayout",
  presets: [SwaggerUIBundle.presets.apis],
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  defaultModelRendering: "example",
  tryItOutEnabled: true,
  displayRequestDuration: true,
  validatorUrl: null,
});
