// Shows the API of the vault that served this page. An address of its own, so that no inline script is needed.
window.SwaggerUIBundle({ url: "/schema/openapi.json", dom_id: "#api", deepLinking: true });
