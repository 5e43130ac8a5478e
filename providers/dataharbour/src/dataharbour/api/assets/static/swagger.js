// Starts Swagger UI. In a file of its own because the pages allow no inline scripts.
// Calls that are tried out carry the login cookie: the reader is signed in already.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  validatorUrl: null,
});
