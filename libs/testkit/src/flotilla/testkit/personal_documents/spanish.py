"""Documents in Spanish; see `english` for the marks."""

from typing import Final

DOCUMENTS: Final = {
    "letter": """{p1}
{address}

{town}, {date}

Estimada {TITLE|Sra.} {p2.last}:

Le agradezco su carta del {date}. Le confirmo que {p3}, que se mudó a {town} en primavera, se hará cargo del alquiler del piso a partir del primero del mes que viene. La fianza se ingresó en la cuenta {iban}.

Para cualquier duda puede llamarme al {phone} o escribirme a {email:p1}. También he pedido a {p4.first}, de {org}, que le envíe una copia del inventario antes de que acabe la semana.

Atentamente,

{p1}""",
    "clinical note": """Paciente: {p1}    Historia clínica: {record}    nacida el {date}

La {TITLE|Sra.} {p1.last}, que tiene {age} años, acude por falta de aire al hacer esfuerzos e hinchazón de los tobillos. Fue atendida por el {TITLE|Dr.} {p2} el {date}. Entre sus antecedentes figuran hipertensión y diabetes; toma metformina. La presión arterial era de 148/92 y el pulso de 88.

Valoración: probable insuficiencia cardíaca. Plan: radiografía de tórax, ecocardiograma y revisión en dos semanas. Se informó por teléfono ({phone}) a su marido, {p3}. DNI: {id}.""",
    "contract": """CONTRATO DE PRESTACIÓN DE SERVICIOS

Entre {org}, con domicilio en {address}, y {p1}, nacido el {date}, con domicilio en {address}, se celebra el {date} el presente contrato.

1. El contratista prestará los servicios descritos en el anexo con la debida diligencia.
2. Las facturas se pagarán en un plazo de treinta días en la cuenta {iban}.
3. Las notificaciones se enviarán a {p2} a la dirección {email:p2}.
4. Cualquiera de las partes podrá rescindir el contrato por escrito con tres meses de antelación.

Firmado: {p1}""",
    "invoice": """FACTURA

Emisor: {org}, {address}
Cliente: {p1}, {address}
Fecha: {date}
Número de cliente: {account}

Asesoramiento, 12 horas a 95,00 euros     1.140,00
Gastos de viaje                              86,40
Total                                     1.226,40

Pagado con tarjeta {card}. ¿Preguntas? Llame al {phone} o visite {url}.""",
    "chat": """{p1.first}: hola, ¿alguien sabe algo de {p2} desde ayer?
{p3.first}: me ha escrito esta mañana, está en {town} hasta el fin de semana
{p1.first}: vale. Necesito su número nuevo, el antiguo no funciona
{p3.first}: prueba con el {phone}, o con {email:p2}
{p1.first}: ¡gracias! Por cierto, el servidor {ip} ha vuelto a caerse y la contraseña es {secret}
{p3.first}: le preguntaré a {p4}, lo instaló él""",
    "report": """La semana pasada tres compañeros advirtieron que el archivo de la segunda planta había quedado abierto durante la noche. Según {p1}, por la mañana no faltaba nada, aunque el cajón con los expedientes del personal estaba abierto. El último en salir del edificio fue {p2.first}, y ni él ni {p3.first} recuerda haber cerrado la puerta. La Dirección ha recordado desde entonces el reglamento interno, y el servicio técnico cambiará la cerradura. El Comité de Empresa pidió una declaración por escrito; {p4} quiere tratarla en la próxima reunión en {town}. No hay motivos para pensar que haya clientes afectados. La vigilancia de la sala de servidores continuará hasta que termine la auditoría.""",
}
