SwaggerUIBundle({
  dom_id: "#page",
  url: new URL("openapi.json", document.baseURI).href,
  deepLinking: true,
  tryItOutEnabled: true,
  displayRequestDuration: true,
  // The schemas are shown where they are used.
  defaultModelsExpandDepth: -1,
  // Nothing is sent elsewhere.
  validatorUrl: null,
});
